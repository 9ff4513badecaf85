// proxy/policy/permit.hpp
//
// Something that was taken and goes back exactly once, whatever becomes of the one who took it: a place of a bulkhead,
// an extra attempt of a budget, an attempt on an endpoint. Permits that were given back by hand on each path out of a
// request are the classic leak, and one leaked place is gone until the next start; this one goes back with its holder.
//
// Threads: as a value, one owner at a time; it may go back on another thread than it came from. Cost: a pointer.
#pragma once

#include <utility>

namespace outrigger::policy {

/// `Owner` has counted it already, and takes it off again in `take_back`.
template <class Owner>
class Permit {
 public:
  Permit() noexcept = default;
  explicit Permit(Owner& owner) noexcept : owner_(&owner) {}
  Permit(Permit&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
  Permit& operator=(Permit&& other) noexcept {
    if (this != &other) {
      release();
      owner_ = std::exchange(other.owner_, nullptr);
    }
    return *this;
  }
  ~Permit() { release(); }

  explicit operator bool() const noexcept { return owner_ != nullptr; }
  void release() noexcept {
    if (Owner* owner = std::exchange(owner_, nullptr)) owner->take_back();
  }

 private:
  Owner* owner_ = nullptr;
};

}  // namespace outrigger::policy
