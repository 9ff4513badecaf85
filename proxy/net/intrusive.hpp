// proxy/net/intrusive.hpp
//
// Counted objects of one worker: the count is a plain integer because nobody else may touch them, which an atomic
// shared_ptr count would pay for on every copy.
#pragma once

#include <cstdint>
#include <utility>

namespace outrigger::net {

/// Base of a counted object; `Derived::last_reference_gone` is called when the count falls to zero.
template <class Derived>
class Counted {
 public:
  void add_reference() noexcept { ++references_; }
  void drop_reference() noexcept {
    if (--references_ == 0) static_cast<Derived*>(this)->last_reference_gone();
  }

 private:
  std::uint32_t references_ = 0;
};

template <class T>
class Ref {
 public:
  Ref() noexcept = default;
  explicit Ref(T* object) noexcept : object_(object) {
    if (object_ != nullptr) object_->add_reference();
  }
  Ref(const Ref& other) noexcept : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->drop_reference();
  }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  void reset() noexcept { *this = Ref{}; }

 private:
  T* object_ = nullptr;
};

}  // namespace outrigger::net
