#include "vec_neon.h"
#define FW_PATH fanwise_path_neon
#include "path.h"
