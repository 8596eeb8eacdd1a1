#include <cblas.h>

#include "blas.h"

namespace ane::cpu {

namespace {

CBLAS_TRANSPOSE flag(Transpose transpose) { return transpose == Transpose::yes ? CblasTrans : CblasNoTrans; }

// OpenBLAS would split each call over threads of its own, which then compete with the callers'.
const bool single_threaded = [] {
    scipy_openblas_set_num_threads(1);
    return true;
}();

}  // namespace

void gemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
    scipy_cblas_sgemm(CblasRowMajor, flag(transpose_a), flag(transpose_b), static_cast<blasint>(m),
                      static_cast<blasint>(n), static_cast<blasint>(k), alpha, a, static_cast<blasint>(lda),
                      b, static_cast<blasint>(ldb), beta, c, static_cast<blasint>(ldc));
}

std::string gemm_library() {
    const std::string config = scipy_openblas_get_config();  // "OpenBLAS 0.3.34 NO_LAPACKE DYNAMIC_ARCH ..."
    const size_t version_end = config.find(' ', config.find(' ') + 1);
    return config.substr(0, version_end) + " (" + scipy_openblas_get_corename() + ")";
}

}  // namespace ane::cpu
