#include "cli/arguments_audit.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "shared/duration.h"

namespace joblet::cli {
namespace {

constexpr std::size_t kPrefixLeast = 8;
constexpr std::size_t kIdDigits = 32;

std::string take_id(std::string_view what, const std::string& text) {
    const bool is_id = text.empty() || (text.size() >= kPrefixLeast && text.size() <= kIdDigits &&
                                        text.find_first_not_of("0123456789abcdef") == std::string::npos);
    if (!is_id) {
        throw Refused{invalid("the " + std::string(what) + " " + in_quotes(text) + " is not an id",
                              "audit records have ids, not names: 8 to 32 digits of one, as inspect shows it")};
    }
    return text;
}

// "1h": so long ago. "2026-11-26" and any longer beginning of "2026-11-26T07:00:00.000000Z": since then.
std::optional<std::string> take_since(const std::string& text) {
    if (text.empty()) {
        return std::nullopt;
    }
    if (const auto ago = parse_duration(text)) {
        const auto then = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()) - *ago;
        const auto day = std::chrono::floor<std::chrono::days>(then);
        const std::chrono::year_month_day date(day);
        const std::chrono::hh_mm_ss time(then - day);
        std::array<char, 32> out{};
        std::snprintf(out.data(), out.size(), "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(date.year()),
                      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                      static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()));
        return std::string(out.data());
    }
    constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    constexpr std::size_t kDay = 10;
    bool fits = text.size() >= kDay && text.size() <= kForm.size();
    for (std::size_t i = 0; fits && i < text.size(); ++i) {
        fits = kForm[i] == 'd' ? text[i] >= '0' && text[i] <= '9' : text[i] == kForm[i];
    }
    if (!fits) {
        throw Refused{invalid("the time " + in_quotes(text) + " is not valid",
                              "it is how long ago (30m, 12h, 7d), or a day or time in UTC: 2026-11-26, 2026-11-26T07:00:00Z")};
    }
    return text;
}

} // namespace

AuditGrammar::AuditGrammar(CLI::App& rnx, CommonOptions& options)
    : audit_(rnx.add_subcommand("audit", "show and check the log of what was done with the daemons' power")),
      verify_(audit_->add_subcommand("verify", "check that no record of an audit log was changed, taken out, moved or cut off")),
      list_(audit_->add_subcommand("list", "show audit records")) {
    set_up(*audit_, options, "rnx audit verify|list …",
           "Examples:\n"
           "  sudo rnx audit verify\n"
           "  sudo rnx audit list --since=1h");
    audit_->require_subcommand(1);
    set_up(*verify_, options, "rnx audit verify [--public-key=FILE] [FILE…]",
           "Without a FILE the log of this host is checked, all its files, and that the daemon has written no more than\n"
           "that. Files are taken in the order given; a copy can be checked on any machine. Exit status: 0; 1 if anything\n"
           "is wrong, with the first record that is.\n"
           "\n"
           "Examples:\n"
           "  sudo rnx audit verify\n"
           "  rnx audit verify --public-key=host7.pub copy/audit.00000000000000250000.jsonl copy/audit.jsonl");
    add_value(*verify_, "--public-key", public_key_, "FILE", "the key that signed it (default: audit.pub beside the log)");
    verify_->add_option("FILE", files_, "files of an audit log, the oldest first")->type_name("");
    set_up(*list_, options, "rnx audit list [--volume=ID] [--job=ID] [--user=UID] [--since=TIME] [--format=table|json|yaml] [FILE…]",
           "Nothing is checked: see rnx audit verify.\n"
           "\n"
           "Examples:\n"
           "  sudo rnx audit list --user=1000 --since=2026-11-26\n"
           "  sudo rnx audit list --volume=06365ce2f601 --format=json");
    add_value(*list_, "--volume", volume_, "ID", "only about that volume");
    add_value(*list_, "--job", job_, "ID", "only about that job");
    add_value(*list_, "--user", user_, "UID", "only of that user");
    add_value(*list_, "--since", since_, "TIME", "only since then: 1h, 7d, 2026-11-26, 2026-11-26T07:00:00Z");
    list_->add_option("FILE", files_, "files of an audit log, the oldest first")->type_name("");
    list_->alias("ls");
}

Command AuditGrammar::take() const {
    if (audit_->got_subcommand(verify_)) {
        return AuditVerify{.files = files_, .public_key = public_key_};
    }
    AuditList list{.files = files_,
                   .volume = take_id("volume", volume_),
                   .job = take_id("job", job_),
                   .uid = std::nullopt,
                   .since = take_since(since_).value_or("")};
    if (!user_.empty()) {
        list.uid = parse_number<std::uint32_t>(user_);
        if (!list.uid) {
            throw Refused{invalid("the user " + in_quotes(user_) + " is not a uid", "a uid is a number; `id -u NAME` tells it")};
        }
    }
    return list;
}

} // namespace joblet::cli
