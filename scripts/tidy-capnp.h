// For clang-tidy only, before everything else where a source includes Cap'n Proto: version 0.9.2 compares a char* with a
// kj::StringPtr, which g++ takes and clang, in C++20 and later, finds ambiguous. This is the comparison it means.
#pragma once

#include <kj/string.h>

namespace kj {
inline bool operator==(const char* text, const StringPtr& other) {
    return StringPtr(text) == other;
}
} // namespace kj
