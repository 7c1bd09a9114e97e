// The filters themselves, by what they work on; filters.cpp has the table that names them.
#pragma once

#include "tokenizer/jinja/builtin.h"

namespace baleen::jinja::filters {

// Texts: text_filters.cpp.
Value capitalize(Runtime&, Call&);
Value center(Runtime&, Call&);
Value escape(Runtime&, Call&);
Value file_size(Runtime&, Call&);
Value force_escape(Runtime&, Call&);
Value format(Runtime&, Call&);
Value indent(Runtime&, Call&);
Value lower(Runtime&, Call&);
Value replace(Runtime&, Call&);
Value safe(Runtime&, Call&);
Value string(Runtime&, Call&);
Value strip_tags(Runtime&, Call&);
Value title(Runtime&, Call&);
Value to_json(Runtime&, Call&);
Value trim(Runtime&, Call&);
Value truncate(Runtime&, Call&);
Value upper(Runtime&, Call&);
Value url_encode(Runtime&, Call&);
Value word_count(Runtime&, Call&);
Value word_wrap(Runtime&, Call&);
Value xml_attributes(Runtime&, Call&);

// Sequences: sequence_filters.cpp.
Value batch(Runtime&, Call&);
Value dict_sort(Runtime&, Call&);
Value first(Runtime&, Call&);
Value group_by(Runtime&, Call&);
Value items(Runtime&, Call&);
Value join(Runtime&, Call&);
Value last(Runtime&, Call&);
Value length(Runtime&, Call&);
Value list(Runtime&, Call&);
Value map(Runtime&, Call&);
Value max(Runtime&, Call&);
Value min(Runtime&, Call&);
Value reject(Runtime&, Call&);
Value reject_attribute(Runtime&, Call&);
Value reverse(Runtime&, Call&);
Value select(Runtime&, Call&);
Value select_attribute(Runtime&, Call&);
Value slice(Runtime&, Call&);
Value sort(Runtime&, Call&);
Value sum(Runtime&, Call&);
Value unique(Runtime&, Call&);

}  // namespace baleen::jinja::filters
