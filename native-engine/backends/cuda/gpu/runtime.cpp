// The runtime interface over cudart, which is linked in and loads the driver where there is one.
#include "runtime.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#include "espalier/base/error.h"
#include "free_memory.h"
#include "launch_log.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// After a kernel has failed, each later call fails too, including this one.
bool is_lost() { return cudaDeviceSynchronize() != cudaSuccess; }

[[noreturn]] void refuse(cudaError_t code, const std::string& what) {
  const std::string text = what + ": " + cudaGetErrorString(code);
  cudaGetLastError();  // clears the error, which the next launch would report again
  if (code == cudaErrorMemoryAllocation) throw Error(ErrorCode::kOutOfMemory, "memory", text);
  if (is_lost()) throw_device_lost(text);
  throw Error(ErrorCode::kInternal, "device", text);
}

void must(cudaError_t code, const char* what) {
  if (code != cudaSuccess) refuse(code, what);
}

cudaStream_t native(StreamHandle s) { return reinterpret_cast<cudaStream_t>(s); }
cudaEvent_t native(EventHandle e) { return reinterpret_cast<cudaEvent_t>(e); }
void* native(uint64_t address) { return reinterpret_cast<void*>(address); }

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// cudart also answers "insufficient driver" where there is no driver at all.
std::string driver_problem(cudaError_t code, int driver) {
  if (code == cudaErrorNoDevice) return "the driver sees no NVIDIA card";
  if (driver == 0) return "no NVIDIA driver is loaded";
  if (code == cudaErrorInsufficientDriver)
    return "the driver is for CUDA " + version_text(driver) + ", this build needs one for " + version_text(CUDART_VERSION);
  return cudaGetErrorString(code);
}

}  // namespace

Cards list_cards() {
  Cards found;
  int count = 0, driver = 0;
  cudaDriverGetVersion(&driver);
  found.driver = version_text(driver);
  if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess) {
    found.problem = driver_problem(code, driver);
    return found;
  }
  for (int i = 0; i < count; i++) {
    cudaDeviceProp p;
    if (const cudaError_t code = cudaGetDeviceProperties(&p, i); code != cudaSuccess) {
      found.problem = cudaGetErrorString(code);
      return found;
    }
    char bus[32] = "";
    cudaDeviceGetPCIBusId(bus, sizeof(bus), i);
    found.cards.push_back(
        {p.name, p.multiProcessorCount, p.major, p.minor, p.totalGlobalMem, free_memory_of(bus).value_or(p.totalGlobalMem)});
  }
  if (count == 0) found.problem = "the driver sees no NVIDIA card";
  return found;
}

std::vector<std::string> product_libraries() {
  const char* named = std::getenv("ESPALIER_CUBLASLT");
  if (!named || !*named) return {"libcublasLt.so.13", "libcublasLt.so.12"};
  if (std::strcmp(named, "off") == 0) return {};
  return {named};
}

void refuse_launch(int code, const char* kernel) { refuse(static_cast<cudaError_t>(code), std::string("kernel ") + kernel); }

void use_card(int card) { must(cudaSetDevice(card), "cannot use the card"); }

uint64_t take_device_memory(uint64_t bytes) {
  void* p = nullptr;
  must(cudaMalloc(&p, bytes), "cannot reserve device memory");
  return reinterpret_cast<uint64_t>(p);
}

// Destructors free memory, also after the device has failed. An error could not be reported from there.
void give_back_device_memory(uint64_t address, uint64_t) { cudaFree(native(address)); }

std::byte* take_pinned_memory(uint64_t bytes) {
  void* p = nullptr;
  must(cudaMallocHost(&p, bytes), "cannot pin host memory");
  return static_cast<std::byte*>(p);
}

void give_back_pinned_memory(std::byte* data) { cudaFreeHost(data); }

std::byte* kernel_address(uint64_t address, uint64_t) { return reinterpret_cast<std::byte*>(address); }

Event::Event() {
  cudaEvent_t e = nullptr;
  must(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "cannot make an event");
  handle_ = reinterpret_cast<EventHandle>(e);
}
Event::~Event() {
  if (handle_) cudaEventDestroy(native(handle_));
}
void Event::synchronize() { must(cudaEventSynchronize(native(handle_)), "the device failed"); }

TimedEvent::TimedEvent(Stream& stream) {
  cudaEvent_t e = nullptr;
  must(cudaEventCreate(&e), "cannot make an event");
  handle_ = reinterpret_cast<EventHandle>(e);
  must(cudaEventRecord(e, native(stream.handle())), "an event failed");
}
TimedEvent::~TimedEvent() { cudaEventDestroy(native(handle_)); }
double TimedEvent::seconds_since(const TimedEvent& earlier) const {
  float milliseconds = 0;
  must(cudaEventSynchronize(native(handle_)), "the device failed");
  must(cudaEventElapsedTime(&milliseconds, native(earlier.handle_), native(handle_)), "an event failed");
  return 1e-3 * static_cast<double>(milliseconds);
}

Stream::Stream() {
  cudaStream_t s = nullptr;
  must(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "cannot make a stream");
  handle_ = reinterpret_cast<StreamHandle>(s);
}
Stream::~Stream() {
  if (handle_) cudaStreamDestroy(native(handle_));
}

void Stream::upload(uint64_t to, const std::byte* pinned, uint64_t bytes) {
  must(cudaMemcpyAsync(native(to), pinned, bytes, cudaMemcpyHostToDevice, native(handle_)), "an upload failed");
}
void Stream::download(std::byte* pinned, uint64_t from, uint64_t bytes) {
  must(cudaMemcpyAsync(pinned, native(from), bytes, cudaMemcpyDeviceToHost, native(handle_)), "a download failed");
}
void Stream::copy_rows(Rows to, Rows from, uint64_t row_bytes, uint64_t rows) {
  must(cudaMemcpy2DAsync(native(to.address), to.pitch, native(from.address), from.pitch, row_bytes, rows, cudaMemcpyDeviceToDevice,
                         native(handle_)),
       "a copy failed");
}
void Stream::copy_between_cards(OnCard to, OnCard from, uint64_t bytes) {
  int can = 0;
  // Without peer access the driver copies the bytes through its own pinned memory. Enabling the access again costs nothing beside a copy.
  if (cudaDeviceCanAccessPeer(&can, to.card, from.card) == cudaSuccess && can && cudaDeviceEnablePeerAccess(from.card, 0) != cudaSuccess)
    cudaGetLastError();  // access is already enabled; after any other error the driver copies the bytes the other way
  must(cudaMemcpyPeerAsync(native(to.address), to.card, native(from.address), from.card, bytes, native(handle_)),
       "a copy between cards failed");
}
void Stream::clear(uint64_t address, uint64_t bytes) {
  must(cudaMemsetAsync(native(address), 0, bytes, native(handle_)), "clearing memory failed");
}
void Stream::record(Event& event) { must(cudaEventRecord(native(event.handle()), native(handle_)), "an event failed"); }
void Stream::wait_for(const Event& event) { must(cudaStreamWaitEvent(native(handle_), native(event.handle()), 0), "an event failed"); }
void Stream::synchronize() {
  must(cudaStreamSynchronize(native(handle_)), "the device failed");
  note_wait();
}

}  // namespace espalier::cuda::ESPALIER_TARGET
