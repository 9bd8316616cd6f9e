// The one place where {fmt} is compiled: Debian has it as a header or as a shared library, and our programs are static. As a
// header it would be compiled again in each file that formats a line, which was half of the time of a build.
#include <fmt/format-inl.h>

namespace fmt::detail {
template void buffer<char>::append(const char*, const char*);
template auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl(locale_ref) -> char;
template void vformat_to(buffer<char>&, string_view, basic_format_args<buffer_context<char>>, locale_ref);
template auto dragonbox::to_decimal(float) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal(double) noexcept -> dragonbox::decimal_fp<double>;
template auto locale_ref::get<std::locale>() const -> std::locale;
} // namespace fmt::detail
