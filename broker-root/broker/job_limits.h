// What the kernel is to hold a job to: what it asked for, what broker.toml says, what its volumes say, and what can be held here.
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "broker-root/broker/config.h"
#include "broker-root/broker/host.h"
#include "shared/error.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

// The lowest of two limits, each of which may be 0: none.
protocol::IoLimits lowest(const protocol::IoLimits& a, const protocol::IoLimits& b);

// Where a job says nothing, its volumes do.
protocol::IoLimits filled(const protocol::IoLimits& job, const protocol::IoLimits& volumes);

// Unsupported if limits of I/O cannot be held for what lies in the store.
std::expected<void, Failure> can_hold_io(const Host& host);

// Of a new job. volumes_io: the lowest that its volumes have; on_disk: one of them lies in the store. A refusal: above what a
// user may ask for, or asked for (by him or by broker.toml) and not to be had.
std::expected<protocol::JobLimits, protocol::Reply> plan_limits(const protocol::StartJob& request, const BrokerConfig& config,
                                                                const Host& host, const protocol::IoLimits& volumes_io, bool on_disk);

// Adds what a worker mounted: loop devices of images, none twice. Precondition: they fit.
void add_devices(protocol::JobLimits& limits, std::span<const protocol::Device> devices);

// Writes all of it to a job's group, and what the kernel then holds to `limits` (whole pages). On failure the group is to be given up.
std::expected<void, Failure> hold_limits(int group, protocol::JobLimits& limits);
// I/O alone: of a job that gets another device.
std::expected<void, Failure> hold_io_limits(int group, const protocol::JobLimits& limits);

} // namespace joblet::broker
