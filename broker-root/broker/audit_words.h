// What an audit record says of a request and of its answer: ids, numbers, and words of our own.
#pragma once

#include <concepts>
#include <span>
#include <string>
#include <vector>

#include "broker-root/broker/audit_log.h"
#include "broker-root/broker/doorman.h"
#include "shared/error.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

// Whether a request is on record: all in which something is done, and what an admin sees of others.
template <class Request> bool is_audited(const Request& request) {
    if constexpr (std::same_as<Request, protocol::MeasureVolume>) {
        return request.authority == protocol::Authority::Admin;
    } else {
        return protocol::row_of(Request::kType).asker != protocol::Asker::Housekeeping &&
               // Of what keeps records from being written one must be told
               !std::same_as<Request, protocol::HostReport> && !std::same_as<Request, protocol::CloseConnection> &&
               // A pair of sockets and some memory: no power is used. What becomes of them is in StartJob's
               !std::same_as<Request, protocol::CreateChannel>;
    }
}

// Of both records: who asks for what.
inline AuditFields audit_fields(std::string_view event, const protocol::RequestHeader& header, const Client* client) {
    AuditFields fields(event);
    fields.add("request", protocol::row_of(header.type).name);
    if (client != nullptr) {
        fields.add("uid", client->uid).add("gid", client->gid).add("pid", client->pid);
    }
    // 0: the API on its own account
    return fields.add("connection", header.connection);
}

namespace detail {

inline void add_number(AuditFields& fields, std::string_view name, std::uint64_t number) {
    if (number != 0) {
        fields.add(name, number);
    }
}
inline void add_io(AuditFields& fields, const protocol::IoLimits& io) {
    add_number(fields, "read_bytes", io.read_bytes);
    add_number(fields, "write_bytes", io.write_bytes);
    add_number(fields, "read_operations", io.read_operations);
    add_number(fields, "write_operations", io.write_operations);
}

} // namespace detail

// What is asked for. Zeros, which ask for nothing, are left out.
template <class Request> void add_asked(AuditFields& fields, const Request& r) {
    using detail::add_number;
    if constexpr (requires { r.id; }) {
        if (!r.id.is_none()) {
            fields.add(std::same_as<std::remove_cvref_t<decltype(r.id)>, VolumeId> ? "volume" : "job", r.id);
        }
    }
    if constexpr (requires { r.job; }) {
        fields.add("job", r.job);
    }
    if constexpr (requires { r.authority; }) {
        fields.add("authority", r.authority == protocol::Authority::Admin ? "admin" : "user");
    }
    if constexpr (requires { r.type; }) {
        fields.add("type", protocol::volume_type_name(r.type)).add("backend", protocol::backend_name(r.backend));
    }
    if constexpr (requires { r.size_bytes; }) {
        add_number(fields, "size_bytes", r.size_bytes);
        add_number(fields, "inodes", r.inodes);
        add_number(fields, "soft_size_bytes", r.soft_size_bytes);
        add_number(fields, "soft_inodes", r.soft_inodes);
    }
    if constexpr (requires { r.access; }) {
        fields.add("access", r.access == protocol::Access::ReadOnly ? "ro" : "rw");
    }
    if constexpr (requires { r.flags; }) {
        add_number(fields, "flags", r.flags);
    }
    if constexpr (requires { r.io; }) {
        detail::add_io(fields, r.io);
    }
    if constexpr (requires { r.signal; }) {
        fields.add("signal", r.signal);
    }
    if constexpr (requires { r.is_protected; }) {
        fields.add("protected", r.is_protected);
    }
    if constexpr (std::same_as<Request, protocol::AdminRead>) {
        add_number(fields, "everybody", r.everybody);
        add_number(fields, "of_uid", r.uid);
    }
    if constexpr (std::same_as<Request, protocol::StartJob>) {
        add_number(fields, "memory_bytes", r.memory_bytes);
        add_number(fields, "swap_bytes", r.swap_bytes);
        add_number(fields, "processes", r.processes);
        add_number(fields, "cpu_milli", r.cpu_milli);
        add_number(fields, "user", r.user);
        add_number(fields, "group", r.group);
        std::vector<std::string> volumes;
        for (const auto& volume : std::span(r.volumes).first(r.volume_count)) {
            volumes.push_back(to_string(volume.id) + (volume.access == protocol::Access::ReadOnly ? ":ro" : ""));
        }
        fields.add_list("volumes", volumes);
    }
}

// How it ended.
inline void add_verdict(AuditFields& fields, const protocol::Reply& reply) {
    fields.add("verdict", error_code_name(reply.code)).add("errno", static_cast<std::uint64_t>(std::max(reply.sys_errno, 0)));
    if (!reply.volume.is_none()) {
        fields.add("volume", reply.volume);
    }
    if (!reply.job.is_none()) {
        fields.add("job", reply.job);
    }
    if (reply.code == ErrorCode::LimitExceeded) {
        fields.add("limit", reply.limit).add("used", reply.used).add("asked", reply.asked);
    }
}

} // namespace joblet::broker
