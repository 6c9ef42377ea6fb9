#include "vec_avx512.h"
#define FW_PATH fanwise_path_avx512
#include "path.h"
