// Writes the reference of rnx from what it parses: docs/cli.md, and the sources of the man pages.
//   cli_docs markdown
//   cli_docs page rnx|rnx-run|rnx-job|rnx-volume|rnx-audit     for scdoc
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_tree.h"
#include "cli/reference.h"

namespace {

constexpr int kUsage = 2;

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string_view> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    const auto rnx = joblet::cli::command_tree();
    if (words.size() == 1 && words[0] == "markdown") {
        std::cout << joblet::cli::reference_markdown(rnx);
        return 0;
    }
    if (words.size() == 2 && words[0] == "page") {
        if (const auto page = joblet::cli::reference_page(rnx, words[1]); !page.empty()) {
            std::cout << page;
            return 0;
        }
    }
    std::cerr << "usage: cli_docs markdown | cli_docs page NAME\n";
    return kUsage;
}
