// What the files of the AMX instruction set share beside the table.
#pragma once

#include "kernels/tables.h"

namespace baleen::kernels {

void attention_on_tiles(const AttentionArgs&);
// By Format.
extern void (*const transposed_on_tiles[format_count])(const TransposedArgs&);

}  // namespace baleen::kernels
