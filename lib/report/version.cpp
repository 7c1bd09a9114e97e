#include "report/version.h"

namespace baleen {

std::string_view version() {
  return BALEEN_VERSION;
}

std::string_view commit() {
  return BALEEN_COMMIT;
}

}  // namespace baleen
