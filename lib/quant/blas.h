// OpenBLAS, looked up when somebody needs it: to be linked with it would start its threads in every run of
// the program (6 ms on two cores, more on more), for one method of one subcommand.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace baleen {

// Each call takes one thread, and may run beside others. Matrices are dense and row-major; the same call on
// the same machine gives the same bits.
class Blas {
 public:
  // Throws Error where the library is not installed.
  Blas();
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // The upper triangle of c [n, n] += x^T x, x [rows, n].
  void add_gram(std::size_t n, std::size_t rows, const float* x, float* c) const;
  // c [m, n] -= a [m, k] b [k, n]; `c_stride` and so on: floats from one row to the next.
  void subtract_product(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t a_stride,
                        const float* b, std::size_t b_stride, float* c, std::size_t c_stride) const;
  // The lower triangle of a [n, n] becomes L with L L^T = a. False, with the triangle spoilt, where a is not
  // positive definite.
  bool cholesky(std::size_t n, float* a) const;
  // The lower triangle of a [n, n] becomes its inverse. False where a diagonal element is 0.
  bool invert_lower(std::size_t n, float* a) const;

 private:
  struct Calls;
  template <typename Call>
  auto guarded(const Call& call) const;

  void* library_ = nullptr;
  std::unique_ptr<const Calls> calls_;
  bool alone_ = false;  // the library was built for programs of one thread
  mutable std::mutex mutex_;
};

}  // namespace baleen
