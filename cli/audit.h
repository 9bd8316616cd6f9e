// rnx audit.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "shared/fd.h"

namespace joblet::cli {

// Opened before rnx confines itself.
struct AuditFiles {
    struct File {
        std::string path;
        Fd fd;
    };
    std::vector<File> logs; // the oldest first
    std::string key;        // text of the public key's file
};

// No `paths`: the log of the host whose daemon has that socket. `public_key`: nullptr if it is not needed. Throws CommandFailure.
AuditFiles open_audit_files(const std::vector<std::string>& paths, const std::string* public_key, const std::string& socket);

int verify_audit(const AuditVerify& verify, const AuditFiles& files, const CommandLine& line);
int list_audit(const AuditList& list, const AuditFiles& files, const CommandLine& line);

} // namespace joblet::cli
