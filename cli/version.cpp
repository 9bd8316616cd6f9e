#include "cli/version.h"

#include "cli/client.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace joblet::cli {

int show_version(const CommandLine& line) {
    constexpr auto kPatience = 2 * kj::SECONDS;
    VersionView view{.client = JOBLET_VERSION, .server = std::nullopt, .server_problem = ""};
    try {
        Client client(line.socket);
        const auto answer = client.wait_at_most(kPatience, client.joblet().versionRequest().send());
        view.server = text_of(answer.getVersion().getSoftware());
    } catch (const CommandFailure& failure) {
        view.server_problem = failure.error().message;
    }
    write_stdout(render_version(view, line.format));
    return 0;
}

} // namespace joblet::cli
