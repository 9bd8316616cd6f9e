// Of the descriptors that the broker may have, clients get a part: what they could use up otherwise is what jobs and the audit log need.
#pragma once

#include <cstddef>
#include <utility>

namespace joblet::broker {

class DescriptorBudget {
  public:
    explicit DescriptorBudget(std::size_t most) : most_(most) {}
    DescriptorBudget(const DescriptorBudget&) = delete;
    DescriptorBudget& operator=(const DescriptorBudget&) = delete;

    // So many descriptors, until it ends.
    class Share {
      public:
        Share() = default; // of nobody's
        Share(Share&& other) noexcept : from_(std::exchange(other.from_, nullptr)), count_(other.count_) {}
        Share& operator=(Share&&) = delete;
        Share(const Share&) = delete;
        Share& operator=(const Share&) = delete;
        ~Share() {
            if (from_ != nullptr) {
                from_->used_ -= count_;
            }
        }

      private:
        friend class DescriptorBudget;
        Share(DescriptorBudget& from, std::size_t count) : from_(&from), count_(count) {
            from.used_ += count;
        }

        DescriptorBudget* from_ = nullptr;
        std::size_t count_ = 0;
    };

    [[nodiscard]] bool has(std::size_t count) const {
        return most_ - used_ >= count;
    }
    // Precondition: it has so many.
    Share take(std::size_t count) {
        return {*this, count};
    }

  private:
    std::size_t most_;
    std::size_t used_ = 0;
};

} // namespace joblet::broker
