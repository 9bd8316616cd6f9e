// Datagrams, job specs, exit records, kinds of descriptors, and the filter's compiler.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "shared/datagram.h"
#include "shared/exit_record.h"
#include "shared/filter.h"
#include "shared/job_spec.h"
#include "shared/stdio_kind.h"

using namespace joblet;

namespace {

std::array<std::byte, 64> kBuffer;

int open_count() {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) {
        count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("a datagram arrives whole, with its descriptors") {
    const auto [a, b] = make_seqpacket_pair();
    const std::uint64_t value = 42;
    const std::array<int, 2> descriptors = {0, 1};
    REQUIRE(send_message(a.get(), value, descriptors, Wait::No));
    const auto received = receive_datagram(b.get(), kBuffer, Wait::No);
    REQUIRE(received.has_value());
    CHECK(received->size == sizeof value);
    CHECK(std::memcmp(kBuffer.data(), &value, sizeof value) == 0);
    REQUIRE(received->descriptors.size() == 2);
    CHECK(::fcntl(received->descriptors[0].get(), F_GETFD) == FD_CLOEXEC);
}

TEST_CASE("what is too long, empty or closed is said so, and leaves no descriptor open") {
    auto [a, b] = make_seqpacket_pair();
    CHECK(receive_datagram(b.get(), kBuffer, Wait::No).error() == ReceiveError::WouldBlock);
    const std::array<std::byte, 65> longer{};
    const std::array<int, 1> descriptors = {0};
    const int before = open_count();
    REQUIRE(send_datagram(a.get(), longer, descriptors, Wait::No));
    CHECK(receive_datagram(b.get(), kBuffer, Wait::No).error() == ReceiveError::Truncated);
    CHECK(open_count() == before);
    REQUIRE(send_datagram(a.get(), {}, {}, Wait::No));
    CHECK(receive_datagram(b.get(), kBuffer, Wait::No).error() == ReceiveError::Closed);
    a.reset();
    CHECK(receive_datagram(b.get(), kBuffer, Wait::No).error() == ReceiveError::Closed);
}

TEST_CASE("more descriptors than a datagram may have are refused on both sides") {
    const auto [a, b] = make_seqpacket_pair();
    const std::vector<int> many(kMaxDescriptors + 1, 0);
    std::array<std::byte, 1> byte{};
    CHECK_FALSE(send_datagram(a.get(), byte, many, Wait::No));
    // a peer that does not use our send
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * (kMaxDescriptors + 1))> control{};
    iovec part{byte.data(), 1};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* entry = CMSG_FIRSTHDR(&header);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(sizeof(int) * many.size());
    std::memcpy(CMSG_DATA(entry), many.data(), sizeof(int) * many.size());
    REQUIRE(::sendmsg(a.get(), &header, 0) == 1);
    const int before = open_count();
    CHECK(receive_datagram(b.get(), kBuffer, Wait::No).error() == ReceiveError::Truncated);
    CHECK(open_count() == before);
}

TEST_CASE("a datagram with descriptors is not received where none are wanted, and stays where it is") {
    const auto [a, b] = make_seqpacket_pair();
    CHECK(receive_bare_datagram(b.get(), kBuffer).error() == ReceiveError::WouldBlock);
    const std::array<std::byte, 3> bytes{};
    REQUIRE(send_datagram(a.get(), bytes, {}, Wait::No));
    CHECK(receive_bare_datagram(b.get(), kBuffer) == 3U);
    const std::array descriptors = {a.get()};
    const int before = open_count();
    for (const auto& sent : {std::span<const std::byte>(bytes), std::span<const std::byte>()}) {
        REQUIRE(send_datagram(a.get(), sent, descriptors, Wait::No));
        CHECK(receive_bare_datagram(b.get(), kBuffer).error() == ReceiveError::Descriptors);
        CHECK(receive_bare_datagram(b.get(), kBuffer).error() == ReceiveError::Descriptors);
        CHECK(open_count() == before);
        CHECK(receive_datagram(b.get(), kBuffer, Wait::No).has_value() == !sent.empty());
    }
    const std::vector<std::byte> longer(kBuffer.size() + 1);
    REQUIRE(send_datagram(a.get(), longer, {}, Wait::No));
    CHECK(receive_bare_datagram(b.get(), kBuffer).error() == ReceiveError::Truncated);
    REQUIRE(send_datagram(a.get(), {}, {}, Wait::No));
    CHECK(receive_bare_datagram(b.get(), kBuffer).error() == ReceiveError::Closed);
}

TEST_CASE("a job spec comes back as it was, from memory that keeps its size and is sealed in the end") {
    const JobSpec spec{{"/bin/sh", "-c", "", "ä"}, {"A=1", "B="}, "/work"};
    const Fd memory = make_spec_memory();
    const auto encoded = encode_job_spec(spec);
    REQUIRE(encoded.has_value());
    REQUIRE(write_spec_memory(memory.get(), *encoded) == 0);
    CHECK(::ftruncate(memory.get(), 1) != 0);
    CHECK(::ftruncate(memory.get(), kJobSpecMax + 1) != 0);
    void* const mapping = ::mmap(nullptr, kJobSpecMax, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    REQUIRE(mapping != MAP_FAILED);
    CHECK(seal_spec_memory(memory.get()) == EBUSY);
    REQUIRE(::munmap(mapping, kJobSpecMax) == 0);
    CHECK(seal_spec_memory(memory.get()) == 0);
    CHECK(::pwrite(memory.get(), "x", 1, 0) == -1);
    std::string text(kJobSpecMax, 'x');
    REQUIRE(::pread(memory.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    CHECK(parse_job_spec(text).has_value());
    text.resize(encoded->size()); // what is behind it does not count
    CHECK(text == *encoded);
    const auto view = parse_job_spec(text);
    REQUIRE(view.has_value());
    REQUIRE(view->arguments.size() == 5);
    CHECK(view->arguments[0] == std::string("/bin/sh"));
    CHECK(view->arguments[2] == std::string());
    CHECK(view->arguments[4] == nullptr);
    CHECK(view->environment[1] == std::string("B="));
    CHECK(view->working_directory == std::string("/work"));
    // cut, or with another count, it is none
    for (std::size_t size = 0; size < text.size(); ++size) {
        REQUIRE_FALSE(parse_job_spec(std::span(text).first(size)).has_value());
    }
    JobSpecHeader header;
    std::memcpy(&header, text.data(), sizeof header);
    header.argument_count += 1;
    std::memcpy(text.data(), &header, sizeof header);
    CHECK_FALSE(parse_job_spec(text).has_value());
}

TEST_CASE("a job spec that cannot be run is refused in words") {
    CHECK_FALSE(encode_job_spec({{}, {}, "/work"}).has_value());
    CHECK_FALSE(encode_job_spec({{""}, {}, "/work"}).has_value());
    CHECK_FALSE(encode_job_spec({{"a"}, {"NOEQUALS"}, "/work"}).has_value());
    CHECK_FALSE(encode_job_spec({{"a"}, {"=x"}, "/work"}).has_value());
    CHECK_FALSE(encode_job_spec({{"a"}, {}, "work"}).has_value());
    CHECK_FALSE(encode_job_spec({{std::string("a\0b", 3)}, {}, "/work"}).has_value());
    CHECK_FALSE(encode_job_spec({{"a", std::string(kJobSpecMax, 'x')}, {}, "/work"}).has_value());
}

TEST_CASE("exit records give the status that a shell would see, and nonsense is none") {
    ExitRecord record{kExitMagic, ExitKind::Exited, 7};
    CHECK(is_valid(record));
    CHECK(exit_status_of(record) == 7);
    record = {kExitMagic, ExitKind::Signaled, 0, 15};
    CHECK(is_valid(record));
    CHECK(exit_status_of(record) == 143);
    record = {kExitMagic, ExitKind::ExecFailed, 0, 0, Step::Exec, ENOENT};
    CHECK(is_valid(record));
    CHECK(exit_status_of(record) == 127);
    record.sys_errno = EACCES;
    CHECK(exit_status_of(record) == 126);
    record = {kExitMagic, ExitKind::SetupFailed, 0, 0, Step::MountProc, EPERM};
    CHECK(is_valid(record));
    CHECK(exit_status_of(record) == 125);
    CHECK_FALSE(is_valid(ExitRecord{}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic, ExitKind::Exited, 256}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic, ExitKind::Exited, -1}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic, ExitKind::Signaled, 0, 65}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic, ExitKind::Killed})); // only the broker says this
    CHECK(is_valid(ExitRecord{.magic = kExitMagic, .kind = ExitKind::Exited, .flags = kExitTimedOut}));
    CHECK_FALSE(is_valid(ExitRecord{.magic = kExitMagic, .kind = ExitKind::Exited, .flags = kExitOutOfMemory})); // likewise
    CHECK_FALSE(is_valid(ExitRecord{.magic = kExitMagic, .kind = ExitKind::Exited, .flags = 4}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic, static_cast<ExitKind>(99)}));
    CHECK_FALSE(is_valid(ExitRecord{kExitMagic + 1, ExitKind::Exited}));
}

TEST_CASE("control requests are a signal from 1 to 31") {
    const auto decoded = [](ControlRequest request) { return decode_control(std::as_bytes(std::span(&request, 1))); };
    CHECK(decoded({ControlKind::Signal, 15}).has_value());
    CHECK_FALSE(decoded({ControlKind::Signal, 0}).has_value());
    CHECK_FALSE(decoded({ControlKind::Signal, 32}).has_value());
    CHECK_FALSE(decoded({static_cast<ControlKind>(0), 15}).has_value());
    CHECK_FALSE(decode_control({}).has_value());
}

TEST_CASE("stdio may be a pipe, socket, regular file, terminal or the null device, and nothing else") {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
    const Fd reading(pipe[0]);
    const Fd writing(pipe[1]);
    CHECK(is_acceptable_stdio(reading.get()));
    CHECK(is_acceptable_stdio(writing.get()));
    const auto [a, b] = make_seqpacket_pair();
    CHECK(is_acceptable_stdio(a.get()));
    CHECK(is_acceptable_stdio(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)).get()));
    CHECK(is_acceptable_stdio(Fd(::open("/etc/passwd", O_RDONLY | O_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(::open("/etc/passwd", O_PATH | O_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(::epoll_create1(EPOLL_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(::eventfd(0, EFD_CLOEXEC)).get()));
    CHECK_FALSE(is_acceptable_stdio(Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))).get()));
    CHECK_FALSE(is_acceptable_stdio(-1));
    CHECK_FALSE(is_pseudo_file(Fd(::open("/etc/passwd", O_RDONLY | O_CLOEXEC)).get()));
    CHECK(is_pseudo_file(Fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC)).get()));
    CHECK(is_pseudo_file(Fd(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)).get()));
    CHECK(is_pseudo_file(-1));
}

#ifndef JOBLET_SANITIZE // the sanitizers' own calls would be refused
TEST_CASE("a compiled table lets its rows through and ends the process for anything else") {
    static constexpr std::array kRows = {
        SyscallRule{__NR_exit_group, "exit_group", "the end"},
        SyscallRule{__NR_write, "write", "only to descriptor 1", {arg_is32(0, 1)}},
    };
    const auto program = compile_filter(kRows, {}, OtherCalls::KillProcess);
    REQUIRE(program.has_value());
    const auto in_child = [&program](auto action) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (install_filter(*program) != 0) {
                ::_exit(99);
            }
            action();
            ::_exit(7);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return status;
    };
    CHECK(WEXITSTATUS(in_child([] {})) == 7);
    CHECK(WEXITSTATUS(in_child([] { (void)!::write(1, "", 0); })) == 7);
    CHECK(WTERMSIG(in_child([] { (void)!::write(2, "", 0); })) == SIGSYS);
    CHECK(WTERMSIG(in_child([] { ::getppid(); })) == SIGSYS);
    const auto lenient = compile_filter(kRows, {}, OtherCalls::FailWithEPERM);
    REQUIRE(lenient.has_value());
}
#endif
