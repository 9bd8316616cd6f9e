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

} // namespace joblet::cli
