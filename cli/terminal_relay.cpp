#include "cli/terminal_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "cli/failure.h"
#include "cli/job_control.h"
#include "cli/raw_terminal.h"

namespace joblet::cli {
namespace {

constexpr std::size_t kBuffer = std::size_t{64} << 10U;
constexpr char kEndOfInput = '\x04';
// After a process of the job has closed its terminal another one may open it
constexpr int kReopenMs = 100;
// The last bytes are there when the record is; this is for a terminal that somebody holds open all the same.
constexpr int kDrainMs = 1000;

enum class Moved : std::uint8_t { Some, Later, Over };

// Bytes on their way in one direction.
class Lane {
  public:
    [[nodiscard]] bool empty() const {
        return first_ == last_;
    }
    // For something from a descriptor
    [[nodiscard]] bool has_room() const {
        return last_ + kReserve < bytes_.size();
    }
    void clear() {
        first_ = last_ = 0;
    }
    // At most kReserve times
    void add(char byte) {
        bytes_.at(last_++) = byte;
    }
    // Precondition: something was read just now.
    [[nodiscard]] char last() const {
        return bytes_.at(last_ - 1);
    }

    Moved fill_from(int fd) {
        const ssize_t count = ::read(fd, bytes_.data() + last_, bytes_.size() - kReserve - last_);
        if (count > 0) {
            last_ += static_cast<std::size_t>(count);
            return Moved::Some;
        }
        return count < 0 && (errno == EAGAIN || errno == EINTR) ? Moved::Later : Moved::Over;
    }
    Moved empty_into(int fd, std::size_t at_most) {
        const ssize_t count = ::write(fd, bytes_.data() + first_, std::min(last_ - first_, at_most));
        if (count < 0) {
            return errno == EAGAIN || errno == EINTR ? Moved::Later : Moved::Over;
        }
        first_ += static_cast<std::size_t>(count);
        if (empty()) {
            clear();
        } else if (!has_room()) {
            std::memmove(bytes_.data(), bytes_.data() + first_, last_ - first_);
            last_ -= std::exchange(first_, 0);
        }
        return Moved::Some;
    }

  private:
    static constexpr std::size_t kReserve = 2;
    std::array<char, kBuffer> bytes_{};
    std::size_t first_ = 0;
    std::size_t last_ = 0;
};

class Relay {
  public:
    Relay(const RelayEnds& ends, Fd master) : ends_(ends), master_(std::move(master)) {
        const int flags = ::fcntl(master_.get(), F_GETFL);
        if (flags < 0 || ::fcntl(master_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
            throw CommandFailure({ErrorCode::Internal, std::string("the job's terminal could not be used: ") + std::strerror(errno), ""});
        }
        resize(); // it may have changed since the job was asked for
    }

    RelayEnd run() {
        while (!(is_over_ && master_is_drained_ && to_output_.empty()) && end_.kind == RelayEnd::Kind::Ended) {
            step();
        }
        return end_;
    }

  private:
    enum Place : std::uint8_t { Control, Signals, Input, Master, Output, Places };

    static int if_wanted(bool wanted, int fd) {
        return wanted ? fd : -1;
    }

    void step() {
        const bool from_master = to_output_.has_room() && !master_is_closed_ && !master_is_drained_;
        const bool to_master = !to_master_.empty() && !is_over_;
        std::array<pollfd, Places> watched{};
        watched[Control] = {.fd = if_wanted(!is_over_, ends_.control), .events = POLLIN, .revents = 0};
        watched[Signals] = {.fd = ends_.signals, .events = POLLIN, .revents = 0};
        watched[Input] = {
            .fd = if_wanted(!input_ended_ && !is_over_ && to_master_.has_room(), ends_.input), .events = POLLIN, .revents = 0};
        watched[Master] = {.fd = if_wanted(from_master || (to_master && !master_is_closed_), master_.get()),
                           .events = static_cast<short>((from_master ? POLLIN : 0) | (to_master ? POLLOUT : 0)),
                           .revents = 0};
        watched[Output] = {.fd = if_wanted(!to_output_.empty(), ends_.output), .events = POLLOUT, .revents = 0};
        const int timeout = is_over_ && !master_is_drained_ && to_output_.empty() ? kDrainMs : master_is_closed_ ? kReopenMs : -1;
        const int ready = ::poll(watched.data(), watched.size(), timeout);
        if (ready < 0 && errno != EINTR) {
            throw CommandFailure({ErrorCode::Internal, std::string("could not wait for the job: ") + std::strerror(errno), ""});
        }
        if (ready <= 0) {
            master_is_closed_ = false;
            master_is_drained_ = master_is_drained_ || (is_over_ && ready == 0);
            return;
        }
        if (watched[Signals].revents != 0) {
            take_signal();
        }
        if (watched[Input].revents != 0) {
            take_input();
        }
        if (watched[Master].revents != 0) {
            move_master(from_master, to_master && (watched[Master].revents & POLLOUT) != 0);
        }
        if (watched[Output].revents != 0) {
            give_output();
        }
        if (watched[Control].revents != 0) {
            end_.record = receive_from_job(ends_.control).record;
            is_over_ = true;
            master_is_closed_ = false; // what it still has is read
        }
    }

    void take_signal() {
        const int signal = next_signal(ends_.signals);
        if (signal == SIGWINCH) {
            resize();
        } else if (signal != 0 && !is_over_) {
            pass_on(ends_.control, signal);
        }
    }

    void resize() {
        auto size = window_size(ends_.input);
        if (!size) {
            size = window_size(ends_.output);
        }
        if (size) {
            (void)::ioctl(master_.get(), TIOCSWINSZ, &*size); // a job that has ended needs none
        }
    }

    void take_input() {
        const auto moved = to_master_.fill_from(ends_.input);
        if (moved != Moved::Over) {
            last_input_ = moved == Moved::Some ? to_master_.last() : last_input_;
            return;
        }
        input_ended_ = true;
        if (ends_.input_is_terminal) {
            end_.kind = RelayEnd::Kind::InputGone;
            return;
        }
        // The first one ends a line that is not at its end, and only the next one the input.
        if (last_input_ != '\n') {
            to_master_.add(kEndOfInput);
        }
        to_master_.add(kEndOfInput);
    }

    void move_master(bool can_read, bool can_write) {
        if (can_write && to_master_.empty_into(master_.get(), kBuffer) == Moved::Over) {
            to_master_.clear();
        }
        if (can_read && to_output_.fill_from(master_.get()) == Moved::Over) {
            // EIO: no process has it open
            master_is_closed_ = !is_over_;
            master_is_drained_ = is_over_;
        }
    }

    void give_output() {
        // What poll(2) promises is room for some bytes; a pipe has room for PIPE_BUF then.
        constexpr std::size_t kCautious = 256;
        static_assert(kCautious <= PIPE_BUF);
        if (to_output_.empty_into(ends_.output, ends_.output_blocks ? kCautious : PIPE_BUF) == Moved::Over) {
            end_.kind = RelayEnd::Kind::OutputBroken;
        }
    }

    RelayEnds ends_;
    Fd master_;
    Lane to_master_;
    Lane to_output_;
    RelayEnd end_;
    char last_input_ = '\n';
    bool is_over_ = false; // the job
    bool input_ended_ = false;
    bool master_is_closed_ = false; // nobody has the job's terminal open at the moment
    bool master_is_drained_ = false;
};

} // namespace

RelayEnd relay_terminal(const RelayEnds& ends, Fd master) {
    return Relay(ends, std::move(master)).run();
}

} // namespace joblet::cli
