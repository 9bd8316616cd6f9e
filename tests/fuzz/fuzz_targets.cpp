// Names, and where volumes appear in a job. The input is two texts with a newline between them.
#include <filesystem>
#include <set>
#include <string>

#include "broker-root/worker/record.h"
#include "shared/name.h"
#include "tests/fuzz/fuzz.h"

using namespace joblet;
using joblet::fuzz::require;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAlphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 63 && text.find_first_not_of(std::string(kAlphanumeric) + "_.-") == std::string_view::npos &&
           kAlphanumeric.find(text.front()) != std::string_view::npos;
}

// By what the standard library makes of the path.
bool is_target(std::string_view text) {
    const bool printable = std::ranges::all_of(text, [](char c) { return c >= 0x21 && c <= 0x7e; });
    if (text.size() < 2 || text.size() > 127 || !printable || text.back() == '/') {
        return false;
    }
    const fs::path path(text);
    return path.is_absolute() && path.lexically_normal() == path && path.native() == path.lexically_normal().native() &&
           std::ranges::find(path, fs::path("..")) == path.end();
}

bool is_reserved(std::string_view target) {
    static const std::set<std::string> kReserved = {"proc", "sys",  "dev", "volumes", "work", "tmp",
                                                    "bin",  "sbin", "lib", "lib64",   "usr",  "etc"};
    return kReserved.contains(std::next(fs::path(target).begin())->string());
}

bool overlap(const fs::path& a, const fs::path& b) {
    const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    return in_a == a.end() || in_b == b.end();
}

void check_name(std::string_view text) {
    require(is_valid_name(text) == is_name(text), "a name is what its grammar says");
    if (is_valid_name(text)) {
        const NameText packed(text);
        require(packed.well_formed() && packed.view() == text, "a name fits, and comes back");
        require(fs::path(text).filename() == text && text != "." && text != "..", "a name is one component");
    }
}

void check_target(std::string_view text) {
    require(is_valid_target(text) == is_target(text), "a target is an absolute, normal path of printable characters");
    if (!is_valid_target(text)) {
        return;
    }
    const TargetText packed(text);
    require(packed.well_formed() && packed.view() == text, "a target fits, and comes back");
    require(reserved_by(text).has_value() == is_reserved(text), "what is reserved is what lies below a directory of the job's own");
    require(worker::is_mount_target(packed) == !is_reserved(text), "a volume is mounted at what is free, and nowhere else");
    require(targets_overlap(text, text), "a target overlaps itself");
    require(targets_overlap(text, std::string(text) + "/x") && !targets_overlap(text, std::string(text) + "x"),
            "a target overlaps what lies below it, and not what begins with its name");
}

// As it comes in an order: bytes that nobody has looked at.
void check_raw(std::string_view bytes) {
    TargetText text;
    std::copy_n(bytes.begin(), std::min(bytes.size(), text.data.size()), text.data.begin());
    const auto end = std::string_view(text.data.data(), text.data.size()).find('\0');
    const bool ends = end != std::string_view::npos &&
                      std::string_view(text.data.data(), text.data.size()).find_first_not_of('\0', end) == std::string_view::npos;
    require(text.well_formed() == ends, "one text has one form");
    const auto view = text.view();
    require(worker::is_mount_target(text) == (ends && (view.empty() || (is_target(view) && !is_reserved(view)))),
            "a target of an order is empty, or one that is free");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check_raw(std::string_view(reinterpret_cast<const char*>(data), size));
    fuzz::Input input(data, size);
    const auto first = input.take_text('\n');
    const auto second = input.take_text('\n');
    for (const auto text : {first, second}) {
        check_name(text);
        check_target(text);
    }
    if (is_valid_target(first) && is_valid_target(second)) {
        require(targets_overlap(first, second) == targets_overlap(second, first), "overlapping has no direction");
        require(targets_overlap(first, second) == overlap(first, second), "targets overlap if one is, or lies below, the other");
    }
    return 0;
}
