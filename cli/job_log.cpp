// rnx job logs
#include <optional>
#include <string>
#include <vector>

#include "cli/job.h"
#include "cli/job_parts.h"
#include "cli/log_reader.h"

namespace joblet::cli {
namespace {

class Output {
  public:
    explicit Output(const JobLogs& logs) : logs_(logs), printer_(logs.timestamps) {}

    void print(const LogPiece& piece) {
        const auto text = printer_.text_of(piece);
        if (piece.stream == LogStream::Stdout && logs_.with_stdout) {
            write_stdout(text);
        } else if (piece.stream == LogStream::Dropped || (piece.stream == LogStream::Stderr && logs_.with_stderr)) {
            write_stderr(text);
        }
    }

    [[nodiscard]] bool wants(const LogPiece& piece) const {
        return piece.stream == LogStream::Dropped || (piece.stream == LogStream::Stdout ? logs_.with_stdout : logs_.with_stderr);
    }

  private:
    const JobLogs& logs_;
    LogPrinter printer_;
};

// Everything that is there now. False: nothing was.
template <class Take> bool read_to_end(LogReader& reader, Take&& take) {
    for (bool any = false;; any = true) {
        auto pieces = reader.read();
        if (!pieces) {
            throw CommandFailure({ErrorCode::Internal, pieces.error(), ""});
        }
        if (pieces->empty()) {
            return any;
        }
        for (auto& piece : *pieces) {
            take(std::move(piece));
        }
    }
}

} // namespace

int show_log(const JobLogs& logs, const CommandLine& line) {
    constexpr auto kPause = 100 * kj::MILLISECONDS;
    Client client(line.socket);
    auto service = client.jobs();
    // Before the log is asked for: an end in between is not missed
    auto wait = service.waitRequest();
    fill(wait.getSelector(), logs.name, logs.scope);
    auto end = logs.follow ? std::optional(wait.send()) : std::nullopt;

    auto request = service.logsRequest();
    fill(request.getSelector(), logs.name, logs.scope);
    const auto answer = client.wait(request.send());
    const auto log = value_of(answer.getResult());
    LogReader reader(client.descriptor_of(log.getFirst()), client.descriptor_of(log.getSecond()));
    Output output(logs);

    if (logs.tail) {
        LogTail tail(*logs.tail);
        read_to_end(reader, [&](LogPiece piece) {
            if (output.wants(piece)) {
                tail.add(std::move(piece));
            }
        });
        for (const auto& piece : tail.take()) {
            output.print(piece);
        }
    }
    const auto print = [&output](const LogPiece& piece) { output.print(piece); };
    read_to_end(reader, print);
    if (end) {
        while (!client.has_come_after(kPause, *end)) {
            read_to_end(reader, print);
        }
        read_to_end(reader, print);
        const auto ended = client.wait(std::move(*end));
        // One that was removed, or started with --rm, had ended.
        if (ended.getResult().isError() && error_of(ended.getResult().getError()).code != ErrorCode::NotFound) {
            value_of(ended.getResult());
        }
    }
    return 0;
}

} // namespace joblet::cli
