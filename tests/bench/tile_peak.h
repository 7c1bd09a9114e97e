// The most that the tiles can do: what prompts' products are to be held against.
#pragma once

// Runs 8 * rounds tile products on registers alone, each of 16 x 16 x 32 multiplications. To be called only
// where the instruction set amx is available.
void multiply_tiles(long rounds);
