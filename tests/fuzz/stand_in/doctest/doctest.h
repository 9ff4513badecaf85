// tests/fuzz/stand_in/doctest/doctest.h
//
// What a rig of the unit tests finds as its test framework when a fuzz target uses it: a check that does not hold ends
// the program, which is how a fuzzer is told.
#pragma once

#include "proxy/base/ensure.hpp"

#define CHECK(...) ENSURE((__VA_ARGS__))
#define REQUIRE(...) ENSURE((__VA_ARGS__))
#define CAPTURE(what) static_cast<void>(what)
