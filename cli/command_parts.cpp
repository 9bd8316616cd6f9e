#include "cli/command_parts.h"

namespace joblet::cli {

void fill(rpc::Scope::Builder builder, const Scope& scope) {
    switch (scope.kind) {
    case Scope::Kind::Own:
        builder.setOwn();
        break;
    case Scope::Kind::User:
        builder.setUser(scope.uid);
        break;
    case Scope::Kind::Everybody:
        builder.setEverybody();
        break;
    }
}

void fill(rpc::IoLimits::Builder builder, const protocol::IoLimits& io) {
    builder.setReadBytes(io.read_bytes);
    builder.setWriteBytes(io.write_bytes);
    builder.setReadOperations(io.read_operations);
    builder.setWriteOperations(io.write_operations);
}

protocol::IoLimits io_of(rpc::IoLimits::Reader io) {
    return {.read_bytes = io.getReadBytes(),
            .write_bytes = io.getWriteBytes(),
            .read_operations = io.getReadOperations(),
            .write_operations = io.getWriteOperations()};
}

} // namespace joblet::cli
