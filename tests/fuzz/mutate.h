// Mutations of what has fixed places: fields are overwritten where they are. Inserting and erasing, which libFuzzer likes, would
// move everything behind them, and hardly an input would decode.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace joblet::fuzz {

// Numbers at which something changes its meaning somewhere; each is tried with its neighbours.
inline constexpr std::array<std::uint64_t, 24> kEdges = {0,
                                                         1,
                                                         2,
                                                         4,
                                                         8,
                                                         10,
                                                         16,
                                                         24,
                                                         31,
                                                         64,
                                                         128,
                                                         1024,
                                                         4096,
                                                         65535,
                                                         1'000'000,
                                                         4'194'304,
                                                         std::uint64_t{1} << 20U,
                                                         std::uint64_t{1} << 40U,
                                                         std::uint64_t{1} << 50U,
                                                         std::uint64_t{1} << 63U,
                                                         std::uint64_t{366} * 24 * 3600 * 1'000'000'000,
                                                         0x7FFE0000,
                                                         0xffffffff,
                                                         ~std::uint64_t{0}};

// For LLVMFuzzerCustomMutator. `fixed`: bytes at the beginning that are the fuzzer's own (which type, how many descriptors).
inline std::size_t mutate_in_place(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed, std::size_t fixed) {
    std::minstd_rand random(seed);
    if (size <= fixed + 8 || random() % 8 == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
        const std::size_t width = std::size_t{1} << (random() % 4);
        const std::size_t at = fixed + (random() % (size - fixed - width + 1)) / width * width;
        std::uint64_t value = kEdges[random() % kEdges.size()] + random() % 3 - 1;
        switch (random() % 6) {
        case 0: // one byte, which is what texts are made of
            data[at] = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : "/.-_a0Z\0"[random() % 8]);
            break;
        case 1: { // a field of another place: an id or a target twice
            const std::size_t length = std::min<std::size_t>(std::size_t{16} << (random() % 4), size - fixed);
            const std::size_t from = fixed + (random() % (size - fixed - length + 1)) / 8 * 8;
            const std::size_t to = fixed + (random() % (size - fixed - length + 1)) / 8 * 8;
            std::memmove(data + to, data + from, length);
            break;
        }
        case 2: // one bit
            data[at] = static_cast<std::uint8_t>(data[at] ^ (1U << (random() % 8)));
            break;
        case 3: // which type it is
            data[random() % fixed] = static_cast<std::uint8_t>(random());
            break;
        default:
            std::memcpy(data + at, &value, width);
        }
    }
    return size;
}

} // namespace joblet::fuzz
