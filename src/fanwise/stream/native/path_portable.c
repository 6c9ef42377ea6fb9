#include "vec_portable.h"
#define FW_PATH fanwise_path_portable
#include "path.h"
