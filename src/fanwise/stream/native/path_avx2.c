#include "vec_avx2.h"
#define FW_PATH fanwise_path_avx2
#include "path.h"
