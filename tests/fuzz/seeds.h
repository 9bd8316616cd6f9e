// The first inputs of the fuzzers, made of the product's own types: when those change, `scripts/build fuzz fuzz_corpus` makes them anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace joblet::fuzz {

// Inputs of one fuzzer, in DIRECTORY/NAME/.
class Seeds {
  public:
    Seeds(const std::filesystem::path& directory, std::string_view fuzzer) : directory_(directory / fuzzer) {
        std::filesystem::create_directories(directory_);
    }
    void add(std::string_view name, std::string_view bytes) {
        std::ofstream file(directory_ / name, std::ios::binary | std::ios::trunc);
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        if (!file.flush()) {
            std::fprintf(stderr, "fuzz_seeds: cannot write %s\n", (directory_ / name).c_str());
            std::exit(1);
        }
    }

  private:
    std::filesystem::path directory_;
};

template <class T> std::string raw(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}
// What the API's side of a fuzzer is told before the bytes.
inline std::string prefix(std::initializer_list<unsigned char> bytes) {
    return {bytes.begin(), bytes.end()};
}

// Each in a file of its own.
void add_boundary_seeds(const std::filesystem::path& directory); // plan, orders, records
void add_text_seeds(const std::filesystem::path& directory);     // sizes, targets, labels, config, audit
void add_client_seeds(const std::filesystem::path& directory);   // client

} // namespace joblet::fuzz
