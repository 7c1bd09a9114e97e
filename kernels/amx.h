// What the files of the AMX instruction set share beside the table.
#pragma once

#include "kernels/tables.h"

namespace baleen::kernels {

// CPU and operating system have tiles of bf16, and this process may use them from now on.
bool has_tiles();

// Rows of bf16 as a tile product's right operand: slots of 16 tokens, for each 32 columns a tile of pairs of
// columns.
extern const Packing tile_packing;

// For tokens that share the work on rows of the cache, and for those that come alone or nearly so.
void prompt_attention_on_tiles(const AttentionArgs&);
void generated_attention_on_tiles(const AttentionArgs&);
// By Format.
extern void (*const transposed_on_tiles[format_count])(const TransposedArgs&);

}  // namespace baleen::kernels
