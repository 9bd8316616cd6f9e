#include "cli/grammar.h"

#include <memory>
#include <utility>

#include "cli/arguments.h"
#include "shared/name.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

// Shows our own line of usage; CLI11's cannot say where options end.
class UsageFormatter : public CLI::Formatter {
  public:
    explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) {}
    std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
        return "Usage: " + usage_ + "\n";
    }
    [[nodiscard]] const std::string& usage() const {
        return usage_;
    }

  private:
    std::string usage_;
};

} // namespace

Error invalid(std::string message, std::string hint) {
    return {ErrorCode::InvalidArgument, std::move(message), std::move(hint)};
}

std::string in_quotes(std::string_view text) {
    return '"' + std::string(text) + '"';
}

void check_name(std::string_view what, std::string_view name) {
    if (!is_valid_name(name)) {
        throw Refused{
            invalid("the " + std::string(what) + " name " + in_quotes(name) + " is not valid", "a name has " + std::string(kNameForms))};
    }
}

std::uint64_t take_size(std::string_view what, std::string_view text) {
    const auto size = parse_size(text);
    if (!size) {
        throw Refused{invalid("the " + std::string(what) + " " + in_quotes(text) + " is not valid: " + std::string(describe(size.error())),
                              "a size is " + std::string(kSizeForms))};
    }
    return *size;
}

void ScopeOptions::add_to(CLI::App& command, std::string_view what) {
    auto* all = command.add_flag("--all-users", all_users, std::string(what) + " of all users (root and admins only)");
    add_value(command, "--user", user, "UID", std::string(what) + " of the user with this uid (root and admins only)").excludes(all);
}

Scope ScopeOptions::take() const {
    if (all_users) {
        return {Scope::Kind::Everybody, 0};
    }
    if (user.empty()) {
        return {};
    }
    const auto uid = parse_number<std::uint32_t>(user);
    if (!uid) {
        throw Refused{invalid("the user " + in_quotes(user) + " is not a uid", "a uid is a whole number, for example 1000")};
    }
    return {Scope::Kind::User, *uid};
}

void set_up(CLI::App& command, CommonOptions& options, std::string usage, std::string end) {
    command.formatter(std::make_shared<UsageFormatter>(std::move(usage)));
    command.footer(std::move(end));
    command.set_help_flag("-h,--help", "show this help and exit");
    command.add_option("--socket", options.socket, "socket of the daemon (default: $JOBLET_SOCKET or " + std::string(kDefaultSocket) + ")")
        ->type_name("PATH");
    command.add_option("--format", options.format, "table (default), json or yaml")->type_name("FORMAT");
}

const std::string& usage_of(const CLI::App& command) {
    return static_cast<const UsageFormatter&>(*command.get_formatter()).usage();
}

} // namespace joblet::cli
