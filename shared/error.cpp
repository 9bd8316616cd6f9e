#include "shared/error.h"

#include <array>

namespace joblet {

std::string_view error_code_name(ErrorCode code) {
    static constexpr std::array<std::string_view, kErrorCodeCount> kNames = {
        "OK",           "INVALID_ARGUMENT", "NOT_FOUND",     "CONFLICT",    "IN_USE",   "PERMISSION_DENIED", "LIMIT_EXCEEDED",
        "OUT_OF_SPACE", "UNSUPPORTED",      "UNIMPLEMENTED", "UNAVAILABLE", "INTERNAL", "QUARANTINED"};
    const auto index = static_cast<std::uint32_t>(code);
    return index < kErrorCodeCount ? kNames[index] : kNames[static_cast<std::uint32_t>(ErrorCode::Internal)];
}

std::string_view step_phrase(Step step) {
    static constexpr std::array<std::string_view, kStepCount> kPhrases = {
        "do it",
        "accept the request",
        "read the records of the volumes",
        "make the staging directory",
        "make the image file",
        "allocate the image file",
        "make the file system in the image",
        "check the usable size of the volume",
        "write the record of the volume",
        "commit the volume",
        "move the volume to the trash",
        "empty the trash",
        "open the volume",
        "attach the loop device",
        "mount the volume",
        "map the volume's owners to the job",
        "mount a tmpfs",
        "mount devpts",
        "build the job's root",
        "make the directory of the job",
        "make the user namespaces of the job",
        "make the cgroup of the job",
        "clone the job's first process",
        "enter the job's root",
        "move the job's mounts into place",
        "mount /proc",
        "enter a cgroup namespace",
        "bring the loopback device up",
        "set the host name",
        "check the job's root",
        "accept stdin, stdout or stderr",
        "put the descriptors into place",
        "join the user namespace",
        "set the user and group ids",
        "change to the working directory",
        "read the command and its environment",
        "fork the job",
        "drop the capabilities",
        "install the system call filter",
        "execute the command",
        "make the btrfs subvolume",
        "limit the btrfs subvolume",
        "bring the volume back from the trash",
        "write the labels of the volume",
        "attach the volume to the running job",
        "detach the volume from the running job",
        "delete the contents of the volume",
        "open the terminal of the job",
        "open the log of the job",
        "mask what /proc shows of the host",
        "limit the directory by a project quota",
        "measure the volume",
        "resize the volume",
        "resize the file system in the image",
        "copy the image",
        "hold the volume to its size",
        "limit the memory of the job",
        "limit the processes of the job",
        "limit the CPU time of the job",
        "limit the I/O of the job",
        "find the block devices behind the volume",
        "look through store and kernel",
        "write the audit record",
    };
    const auto index = static_cast<std::uint32_t>(step);
    return index < kStepCount ? kPhrases[index] : kPhrases[0];
}

} // namespace joblet
