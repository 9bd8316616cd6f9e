// The system call tables of all processes, as they were compiled into them.
//   syscall_tables markdown     docs/system-calls.md
//   syscall_tables json         for scripts
#include <iostream>
#include <span>
#include <string_view>

#include "tests/tables/reference.h"

int main(int argc, char** argv) {
    const std::span<char*> words(argv, static_cast<std::size_t>(argc));
    const std::string_view form = words.size() == 2 ? words[1] : "";
    if (form == "markdown") {
        std::cout << joblet::testing::tables_markdown();
        return 0;
    }
    if (form == "json") {
        std::cout << joblet::testing::tables_json();
        return 0;
    }
    std::cerr << "usage: syscall_tables markdown|json\n";
    return 2;
}
