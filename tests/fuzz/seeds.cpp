// fuzz_seeds DIRECTORY: writes DIRECTORY/NAME/… for each fuzzer. The same bytes each time.
#include "tests/fuzz/seeds.h"

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: fuzz_seeds DIRECTORY\n");
        return 2;
    }
    joblet::fuzz::add_boundary_seeds(argv[1]);
    joblet::fuzz::add_client_seeds(argv[1]);
    joblet::fuzz::add_text_seeds(argv[1]);
    return 0;
}
