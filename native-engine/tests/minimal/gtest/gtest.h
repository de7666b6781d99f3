// The part of GoogleTest that the tests of ops and steps use, for machines without GoogleTest (tools/gpu_check). It has the same names,
// runs in one process, and knows --gtest_filter and --gtest_list_tests.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace testing {

// ---- Results of the running test.

struct Running {
  bool failed = false, skipped = false;
  std::vector<std::string> traces;
};
inline Running& running() {
  static Running now;
  return now;
}

// The text that a test adds to a check with <<.
class Message {
 public:
  template <class T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};

// `= Message() << ...` reports the result. It is returned, so that it may end a void function.
struct Report {
  const char* file;
  int line;
  std::string what;
  bool skips = false;
  void operator=(const Message& message) const {
    Running& now = running();
    (skips ? now.skipped : now.failed) = true;
    std::cout << file << ":" << line << ": " << what << " " << message.text() << "\n";
    for (const std::string& trace : now.traces) std::cout << "  in " << trace << "\n";
  }
};

struct Trace {
  explicit Trace(const Message& message) { running().traces.push_back(message.text()); }
  ~Trace() { running().traces.pop_back(); }
};

template <class T>
std::string shown(const T& value) {
  if constexpr (requires(std::ostream& out) { out << value; }) {
    std::ostringstream text;
    text.precision(17);
    text << value;
    return text.str();
  } else {
    return "(" + std::to_string(sizeof(T)) + " bytes)";
  }
}

// Returns an empty text where the check holds, and otherwise a text that says what differs.
template <class A, class B, class F>
std::string compared(const char* a_text, const char* b_text, const char* sign, const A& a, const B& b, F&& holds) {
  if (holds(a, b)) return "";
  return std::string(a_text) + " " + sign + " " + b_text + ": " + shown(a) + " and " + shown(b);
}
inline std::string near(const char* a_text, const char* b_text, double a, double b, double distance) {
  if (std::fabs(a - b) <= distance) return "";
  return std::string(a_text) + " near " + b_text + ": " + shown(a) + " and " + shown(b) + ", allowed " + shown(distance);
}
// Tells whether two values are equal within four units in the last place.
template <class T>
bool almost_equal(T a, T b) {
  return a == b || std::fabs(a - b) <= 4 * std::numeric_limits<T>::epsilon() * std::max(std::fabs(a), std::fabs(b));
}

// ---- Tests and their parameters.

class Test {
 public:
  virtual ~Test() = default;
  virtual void SetUp() {}
  virtual void TearDown() {}
  virtual void TestBody() = 0;
};

template <class T>
class WithParamInterface {
 public:
  using ParamType = T;
  static const T& GetParam() { return *current(); }
  static const T*& current() {
    static const T* now = nullptr;
    return now;
  }
};
template <class T>
class TestWithParam : public Test, public WithParamInterface<T> {};

template <class T>
struct TestParamInfo {
  T param;
  size_t index;
};

struct Case {
  std::string name;
  std::function<void()> run;
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
// Tests with parameters and the lists of their parameters may be defined in any order, so they are combined at the start.
struct Parametrised {
  std::string suite, name;
  std::function<std::unique_ptr<Test>()> make;
};
inline std::vector<Parametrised>& parametrised() {
  static std::vector<Parametrised> all;
  return all;
}
inline std::vector<std::function<void()>>& instantiations() {
  static std::vector<std::function<void()>> all;
  return all;
}

inline void run_body(Test& test) {
  test.SetUp();
  if (!running().failed && !running().skipped) test.TestBody();
  test.TearDown();
}

template <class T>
bool add_test(const char* suite, const char* name) {
  cases().push_back({std::string(suite) + "." + name, [] {
                       T test;
                       run_body(test);
                     }});
  return true;
}
template <class T>
bool add_parametrised(const char* suite, const char* name) {
  parametrised().push_back({suite, name, [] { return std::make_unique<T>(); }});
  return true;
}

// A list of values of any types, which are converted to the type of the parameter.
template <class... V>
auto Values(V... values) {
  return [=]<class P>(std::type_identity<P>) { return std::vector<P>{static_cast<P>(values)...}; };
}
template <class C>
auto ValuesIn(const C& values) {
  return [=]<class P>(std::type_identity<P>) { return std::vector<P>(std::begin(values), std::end(values)); };
}

struct Numbered {
  template <class I>
  std::string operator()(const I& info) const {
    return std::to_string(info.index);
  }
};

template <class Suite, class G, class N = Numbered>
bool instantiate(const char* prefix, const char* suite, G generator, N name = {}) {
  instantiations().push_back([=] {
    using P = typename Suite::ParamType;
    const auto values = std::make_shared<std::vector<P>>(generator()(std::type_identity<P>{}));
    for (const Parametrised& test : parametrised()) {
      if (test.suite != suite) continue;
      for (size_t i = 0; i < values->size(); i++)
        cases().push_back({std::string(prefix) + "/" + suite + "." + test.name + "/" + name(TestParamInfo<P>{(*values)[i], i}),
                           [values, i, make = test.make] {
                             Suite::current() = &(*values)[i];
                             run_body(*make());
                           }});
    }
  });
  return true;
}

int run_all(int argc, char** argv);

}  // namespace testing

// The check stands in a switch, so that an `if` of the caller without braces keeps its own `else`.
#define MINIMAL_CHECK_(problem, end)                                            \
  switch (0)                                                                    \
  case 0:                                                                       \
  default:                                                                      \
    if (const std::string minimal_problem = (problem); minimal_problem.empty()) \
      ;                                                                         \
    else                                                                        \
      end ::testing::Report{__FILE__, __LINE__, minimal_problem} = ::testing::Message()
#define MINIMAL_COMPARE_(a, b, sign, end) \
  MINIMAL_CHECK_(::testing::compared(#a, #b, #sign, a, b, [](const auto& x, const auto& y) { return x sign y; }), end)

#define EXPECT_EQ(a, b) MINIMAL_COMPARE_(a, b, ==, )
#define EXPECT_NE(a, b) MINIMAL_COMPARE_(a, b, !=, )
#define EXPECT_LT(a, b) MINIMAL_COMPARE_(a, b, <, )
#define EXPECT_LE(a, b) MINIMAL_COMPARE_(a, b, <=, )
#define EXPECT_GT(a, b) MINIMAL_COMPARE_(a, b, >, )
#define EXPECT_GE(a, b) MINIMAL_COMPARE_(a, b, >=, )
#define ASSERT_EQ(a, b) MINIMAL_COMPARE_(a, b, ==, return)
#define ASSERT_LE(a, b) MINIMAL_COMPARE_(a, b, <=, return)
#define EXPECT_TRUE(a) MINIMAL_CHECK_((a) ? "" : #a " is false", )
#define EXPECT_FALSE(a) MINIMAL_CHECK_((a) ? #a " is true" : "", )
#define ASSERT_TRUE(a) MINIMAL_CHECK_((a) ? "" : #a " is false", return)
#define EXPECT_NEAR(a, b, distance) MINIMAL_CHECK_(::testing::near(#a, #b, a, b, distance), )
#define ASSERT_NEAR(a, b, distance) MINIMAL_CHECK_(::testing::near(#a, #b, a, b, distance), return)
#define EXPECT_FLOAT_EQ(a, b) MINIMAL_CHECK_(::testing::almost_equal<float>(a, b) ? "" : #a " is not " #b, )
#define EXPECT_DOUBLE_EQ(a, b) MINIMAL_CHECK_(::testing::almost_equal<double>(a, b) ? "" : #a " is not " #b, )
#define EXPECT_STREQ(a, b) MINIMAL_CHECK_(std::strcmp(a, b) == 0 ? "" : #a " is not " #b, )
#define EXPECT_THROW(statement, type)      \
  MINIMAL_CHECK_([&]() -> std::string {    \
    try {                                  \
      statement;                           \
    } catch (const type&) {                \
      return "";                           \
    }                                      \
    return #statement " throws no " #type; \
  }(), )
#define ADD_FAILURE() ::testing::Report{__FILE__, __LINE__, "failure"} = ::testing::Message()
#define GTEST_SKIP() return ::testing::Report{__FILE__, __LINE__, "skipped", true} = ::testing::Message()
#define MINIMAL_JOIN_(a, b) a##b
#define MINIMAL_NAME_(a, b) MINIMAL_JOIN_(a, b)
#define SCOPED_TRACE(text) const ::testing::Trace MINIMAL_NAME_(minimal_trace_, __LINE__)(::testing::Message() << text)

#define MINIMAL_TEST_(suite, name, base, add)                                                                       \
  class suite##_##name##_Test : public base {                                                                       \
    void TestBody() override;                                                                                       \
  };                                                                                                                \
  [[maybe_unused]] static const bool suite##_##name##_added = ::testing::add<suite##_##name##_Test>(#suite, #name); \
  void suite##_##name##_Test::TestBody()
#define TEST(suite, name) MINIMAL_TEST_(suite, name, ::testing::Test, add_test)
#define TEST_F(suite, name) MINIMAL_TEST_(suite, name, suite, add_test)
#define TEST_P(suite, name) MINIMAL_TEST_(suite, name, suite, add_parametrised)
// The values are computed at the start of main, because backends register until then.
#define INSTANTIATE_TEST_SUITE_P(prefix, suite, generator, ...) \
  [[maybe_unused]] static const bool prefix##_##suite##_made =  \
      ::testing::instantiate<suite>(#prefix, #suite, [] { return generator; } __VA_OPT__(, ) __VA_ARGS__)
