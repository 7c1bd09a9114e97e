#include "quant/blas.h"

#include <dlfcn.h>

#include <string>

#include "error.h"

namespace baleen {
namespace {

// cblas.h's, and Fortran's LAPACK: its lengths of character arguments come last.
constexpr int row_major = 101, no_trans = 111, trans = 112, upper = 121;
using Syrk = void (*)(int, int, int, int, int, float, const float*, int, float, float*, int);
using Gemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                      float*, int);
using Potrf = void (*)(const char*, const int*, float*, const int*, int*, std::size_t);
using Trtri = void (*)(const char*, const char*, const int*, float*, const int*, int*, std::size_t,
                       std::size_t);

// Debian's name, and that of OpenBLAS' own builds.
constexpr const char* names[] = {"libopenblas.so.0", "libopenblas.so"};

}  // namespace

struct Blas::Calls {
  Syrk syrk;
  Gemm gemm;
  Potrf potrf;
  Trtri trtri;
};

Blas::Blas() {
  for (const char* name : names)
    if (!library_) library_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library_)
    throw Error(std::string(names[0]) +
                ": cannot be loaded; --method gptq needs OpenBLAS (Debian's libopenblas0)");
  const auto find = [&]<typename F>(F& function, const char* name) {
    function = reinterpret_cast<F>(::dlsym(library_, name));
    if (!function)
      throw Error(std::string(names[0]) + ": has no " + name + ", expected OpenBLAS with LAPACK");
  };
  Calls calls{};
  find(calls.syrk, "cblas_ssyrk");
  find(calls.gemm, "cblas_sgemm");
  find(calls.potrf, "spotrf_");
  find(calls.trtri, "strtri_");
  void (*set_threads)(int) = nullptr;
  int (*parallel)() = nullptr;
  find(set_threads, "openblas_set_num_threads");
  find(parallel, "openblas_get_parallel");
  set_threads(1);
  // Debian's serial build has no locks round its buffers: two threads in it at once get wrong numbers.
  alone_ = parallel() == 0;
  calls_ = std::make_unique<const Calls>(calls);
}

// The library stays: its idle threads may be in its code.
Blas::~Blas() = default;

template <typename Call>
auto Blas::guarded(const Call& call) const {
  std::unique_lock lock(mutex_, std::defer_lock);
  if (alone_) lock.lock();
  return call();
}

void Blas::add_gram(std::size_t n, std::size_t rows, const float* x, float* c) const {
  const int width = static_cast<int>(n);
  guarded([&] {
    calls_->syrk(row_major, upper, trans, width, static_cast<int>(rows), 1, x, width, 1, c, width);
  });
}

void Blas::subtract_product(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride,
                            const float* b, std::size_t b_stride, float* c, std::size_t c_stride) const {
  if (n == 0) return;
  guarded([&] {
    calls_->gemm(row_major, no_trans, no_trans, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k),
                 -1, a, static_cast<int>(a_stride), b, static_cast<int>(b_stride), 1, c,
                 static_cast<int>(c_stride));
  });
}

// A row-major lower triangle is Fortran's upper one: L = U^T.
bool Blas::cholesky(std::size_t n, float* a) const {
  const int order = static_cast<int>(n);
  int info = 0;
  guarded([&] { calls_->potrf("U", &order, a, &order, &info, 1); });
  return info == 0;
}

bool Blas::invert_lower(std::size_t n, float* a) const {
  const int order = static_cast<int>(n);
  int info = 0;
  guarded([&] { calls_->trtri("U", "N", &order, a, &order, &info, 1, 1); });
  return info == 0;
}

}  // namespace baleen
