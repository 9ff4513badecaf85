// proxy/base/bounded_vec.hpp
//
// A vector of fixed capacity that lives where it is declared. Orders of one fact, attempts of one request, fields of
// one head: all have a limit that the contract names, so none needs the heap. Elements are not initialised until
// pushed. Overflow is an error of the caller, who knows the limit: `push_back` ENSUREs, `try_push_back` tells.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "proxy/base/ensure.hpp"

namespace outrigger {

template <class T, std::size_t N>
class BoundedVec {
 public:
  BoundedVec() noexcept {}
  ~BoundedVec() { clear(); }
  BoundedVec(const BoundedVec& other) {
    for (const T& element : other) push_back(element);
  }
  BoundedVec(BoundedVec&& other) noexcept { take(other); }
  BoundedVec& operator=(BoundedVec&& other) noexcept {
    if (this == &other) return *this;
    clear();
    take(other);
    return *this;
  }
  BoundedVec& operator=(const BoundedVec& other) {
    if (this == &other) return *this;
    clear();
    for (const T& element : other) push_back(element);
    return *this;
  }

  bool try_push_back(T element) {
    if (size_ == N) return false;
    ::new (static_cast<void*>(slot(size_))) T(std::move(element));
    ++size_;
    return true;
  }
  void push_back(T element) { ENSURE(try_push_back(std::move(element))); }
  /// Makes an element where it stays.
  template <class... Args>
  T& emplace_back(Args&&... args) {
    ENSURE(size_ < N);
    T* element = ::new (static_cast<void*>(slot(size_))) T(std::forward<Args>(args)...);
    ++size_;
    return *element;
  }

  void clear() noexcept {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      for (std::size_t i = 0; i < size_; ++i) slot(i)->~T();
    }
    size_ = 0;
  }

  T& operator[](std::size_t index) {
    ENSURE(index < size_);
    return *slot(index);
  }
  const T& operator[](std::size_t index) const {
    ENSURE(index < size_);
    return *slot(index);
  }
  T& back() { return (*this)[size_ - 1]; }
  const T& back() const { return (*this)[size_ - 1]; }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  bool full() const noexcept { return size_ == N; }
  static constexpr std::size_t capacity() noexcept { return N; }

  T* begin() noexcept { return slot(0); }
  T* end() noexcept { return slot(size_); }
  const T* begin() const noexcept { return slot(0); }
  const T* end() const noexcept { return slot(size_); }

 private:
  void take(BoundedVec& other) noexcept {
    for (T& element : other) {
      ::new (static_cast<void*>(slot(size_))) T(std::move(element));
      ++size_;
    }
    other.clear();
  }
  T* slot(std::size_t index) noexcept { return std::launder(reinterpret_cast<T*>(storage_)) + index; }
  const T* slot(std::size_t index) const noexcept { return std::launder(reinterpret_cast<const T*>(storage_)) + index; }

  std::size_t size_ = 0;
  alignas(T) std::byte storage_[N * sizeof(T)];
};

}  // namespace outrigger
