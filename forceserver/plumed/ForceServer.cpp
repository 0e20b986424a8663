// The FORCESERVER action: collective variables that a forceserver process computes, as a PLUMED collective variable.
//
//   LOAD FILE=ForceServer.cpp                       (PLUMED compiles and loads it; see `forceserver plumed build`)
//   p: FORCESERVER ADDRESS=/run/user/1000/batio3.sock CV=polarization
//   METAD ARG=p.x,p.y,p.z ...
//
// Theory of operation. The constructor connects to the CV server, names the variable and learns which atoms it needs and
// which components it has; PLUMED is asked for those atoms only. calculate() sends positions and box and gets values,
// derivatives with respect to the atoms that matter in this configuration, and derivatives with respect to the box.
// Over a unix socket the numbers travel through one shared memory segment, made by the server and received as a file
// descriptor, and the socket carries 16 bytes each way; over TCP the same numbers follow the headers in the stream.
// The bytes are described in docs/plumed.md; forceserver/cv_server/protocol.py is the other end.
//
// On the wire lengths are in Angstrom. The variables themselves have no unit of PLUMED's: only derivatives are converted.
//
// A lost connection is made again and the request repeated until RECONNECT seconds have passed; what the server reports
// as an error, a changed variable, or an answer that does not come within TIMEOUT seconds, is an error of PLUMED.
// With MPI rank 0 talks and broadcasts, errors included, so that all ranks stop together.

#include "colvar/Colvar.h"
#include "core/ActionRegister.h"
#include "core/ActionSet.h"
#include "core/ActionWithVirtualAtom.h"
#include "core/PlumedMain.h"
#include "tools/Communicator.h"
#include "tools/Units.h"
#if __has_include("core/Atoms.h")
#  include "core/Atoms.h"  // PLUMED 2.9 keeps the units here
#  define FORCESERVER_UNITS(plumed) (plumed).getAtoms().getUnits()
#else
#  define FORCESERVER_UNITS(plumed) (plumed).getUnits()
#endif

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace forceserver {

constexpr std::uint32_t magic = 0x46534356;  // "FSCV"; another byte order cannot spell it
constexpr std::uint32_t protocol_version = 2;
constexpr std::uint32_t max_description = 1u << 28;
constexpr std::size_t atom_bytes = sizeof(std::int32_t) + sizeof(double);  // of an atom in a description
constexpr std::uint32_t max_error_text = 1u << 16;

#ifdef MSG_NOSIGNAL
constexpr int no_signal = MSG_NOSIGNAL;
#else
constexpr int no_signal = 0;  // there is SO_NOSIGPIPE instead
#endif

enum Kind : std::uint32_t { hello = 1, description = 2, positions = 3, values = 4, error = 5 };

struct Header {
  std::uint32_t kind;
  std::uint32_t length;  // of what follows, in bytes
};

struct Hello {
  std::uint32_t magic_number, version, shared_memory, atoms;  // followed by the name of the variable
};

struct Describe {
  std::uint32_t version, shared_memory, components, atoms;  // followed by int32 indices, float64 masses, names, one a line
};

/// The connection is broken; making it again may help.
struct Lost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Nothing that a new connection would mend.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Clock = std::chrono::steady_clock;

Clock::time_point seconds_from_now(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// A file descriptor that closes itself.
class Descriptor {
  int fd_ = -1;
public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    reset();
  }
  void reset(int fd = -1) {
    if(fd_ >= 0) {
      ::close(fd_);
    }
    fd_ = fd;
  }
  int get() const {
    return fd_;
  }
};

/// Shared memory of the server, mapped.
class Segment {
  void* start_ = MAP_FAILED;
  std::size_t size_ = 0;
public:
  Segment() = default;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() {
    unmap();
  }
  void map(int fd, std::size_t size) {
    unmap();
    struct stat info;
    if(::fstat(fd, &info) != 0 || static_cast<std::size_t>(info.st_size) < size) {
      throw Refused("the shared memory of the server is smaller than what it describes");
    }
    start_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if(start_ == MAP_FAILED) {
      throw Refused(std::string("the shared memory of the server cannot be mapped: ") + std::strerror(errno));
    }
    size_ = size;
  }
  void unmap() {
    if(start_ != MAP_FAILED) {
      ::munmap(start_, size_);
    }
    start_ = MAP_FAILED;
  }
  explicit operator bool() const {
    return start_ != MAP_FAILED;
  }
  char* data() const {
    return static_cast<char*>(start_);
  }
};

/// What the server says about a variable.
struct Variable {
  std::vector<std::int32_t> atoms;  // 0-based
  std::vector<double> masses;       // of these, as the structure file of the server has them
  std::vector<std::string> components;
  bool operator==(const Variable& other) const {
    return atoms == other.atoms && components == other.components;
  }
};

/// One evaluation: lengths in Angstrom, `request` as box (9) and positions (3 a), `reply` as values (d),
/// strain derivatives (d, 3, 3) and gradients (d, active, 3); `active` counts in the list of requested atoms.
struct Evaluation {
  std::vector<double> request, reply;
  std::vector<std::int32_t> active;
};

/// The client's side of the protocol, without anything of PLUMED.
class Client {
  std::string address_, name_;
  std::uint32_t total_atoms_;
  double timeout_;
  Variable variable_;
  Descriptor socket_;
  Segment segment_;

  [[noreturn]] void lost(const std::string& why) const {
    throw Lost("the server at " + address_ + " " + why);
  }

  void wait_for(short events, Clock::time_point deadline) {
    while(true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if(left <= 0) {
        throw Refused("no answer from the server at " + address_ + " in time; is it stuck? (TIMEOUT sets the limit)");
      }
      struct pollfd poll = {socket_.get(), events, 0};
      const int ready = ::poll(&poll, 1, static_cast<int>(std::min<long long>(left, 1000000)));
      if(ready > 0) {
        return;
      }
      if(ready < 0 && errno != EINTR) {
        lost(std::string("cannot be waited for: ") + std::strerror(errno));
      }
    }
  }

  Clock::time_point deadline() const {
    return seconds_from_now(timeout_);
  }

  void send(const std::vector<std::pair<const void*, std::size_t>>& parts) {
    std::vector<char> message;
    for(const auto& part : parts) {
      const char* start = static_cast<const char*>(part.first);
      message.insert(message.end(), start, start + part.second);
    }
    const auto limit = deadline();
    std::size_t done = 0;
    while(done < message.size()) {
      const ssize_t count = ::send(socket_.get(), message.data() + done, message.size() - done, no_signal | MSG_DONTWAIT);
      if(count >= 0) {
        done += count;
      } else if(errno == EAGAIN) {
        wait_for(POLLOUT, limit);
      } else if(errno != EINTR) {
        lost(std::string("went away: ") + std::strerror(errno));
      }
    }
  }

  /// Fills `data`; a descriptor that comes along goes to `passed`.
  void receive(void* data, std::size_t size, Descriptor* passed = nullptr) {
    const auto limit = deadline();
    std::size_t done = 0;
    while(done < size) {
      struct iovec piece = {static_cast<char*>(data) + done, size - done};
      alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
      struct msghdr message = {};
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
      if(count == 0) {
        lost("closed the connection");
      } else if(count < 0) {
        if(errno == EAGAIN) {
          wait_for(POLLIN, limit);
        } else if(errno != EINTR) {
          lost(std::string("went away: ") + std::strerror(errno));
        }
        continue;
      }
      for(struct cmsghdr* extra = CMSG_FIRSTHDR(&message); extra != nullptr; extra = CMSG_NXTHDR(&message, extra)) {
        if(extra->cmsg_level == SOL_SOCKET && extra->cmsg_type == SCM_RIGHTS) {
          int fd;
          std::memcpy(&fd, CMSG_DATA(extra), sizeof(fd));
          Descriptor received(fd);
          if(passed) {
            passed->reset(::dup(fd));
          }
        }
      }
      done += count;
    }
  }

  /// The header of an answer of kind `expected`; throws what the server reports as an error.
  Header receive_header(Kind expected, std::uint32_t max_length, Descriptor* passed = nullptr) {
    Header header;
    receive(&header, sizeof(header), passed);
    if(header.kind == error && header.length <= max_error_text) {
      std::string text(header.length, ' ');
      receive(&text[0], text.size());
      throw Refused("the server at " + address_ + " says: " + text);
    }
    if(header.kind != expected || header.length > max_length) {
      throw Refused("what listens at " + address_ + " is not the CV server of forceserver");
    }
    return header;
  }

  void set_options() {
    struct timeval limit = {};  // also of connect()
    limit.tv_sec = static_cast<long>(timeout_) + 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
#ifdef SO_NOSIGPIPE
    const int on = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
  }

  void open_unix() {
    struct sockaddr_un where = {};
    where.sun_family = AF_UNIX;
    if(address_.size() >= sizeof(where.sun_path)) {
      throw Refused("the socket path " + address_ + " is longer than the " + std::to_string(sizeof(where.sun_path) - 1)
                    + " characters that the system allows");
    }
    std::memcpy(where.sun_path, address_.data(), address_.size());
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM, 0));
    set_options();
    if(::connect(socket_.get(), reinterpret_cast<struct sockaddr*>(&where), sizeof(where)) != 0) {
      lost(std::string("cannot be reached: ") + std::strerror(errno));
    }
  }

  void open_tcp(const std::string& host, const std::string& port) {
    struct addrinfo hints = {}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if(const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found)) {
      lost(std::string("cannot be found: ") + ::gai_strerror(code));
    }
    const std::unique_ptr<struct addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    std::string why = "no address";
    for(const struct addrinfo* each = found; each != nullptr; each = each->ai_next) {
      socket_.reset(::socket(each->ai_family, each->ai_socktype, each->ai_protocol));
      set_options();
      if(socket_.get() >= 0 && ::connect(socket_.get(), each->ai_addr, each->ai_addrlen) == 0) {
        const int on = 1;
        ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        return;
      }
      why = std::strerror(errno);
    }
    lost("cannot be reached: " + why);
  }

  Variable say_hello() {
    const Header header = {hello, static_cast<std::uint32_t>(sizeof(Hello) + name_.size())};
    const bool local = address_[0] == '/';
    const Hello body = {magic, protocol_version, local, total_atoms_};
    send({{&header, sizeof(header)}, {&body, sizeof(body)}, {name_.data(), name_.size()}});

    Descriptor memory;
    const Header answer = receive_header(description, max_description, &memory);
    Describe about;
    if(answer.length < sizeof(about)) {
      throw Refused("the description that came from " + address_ + " is too short");
    }
    receive(&about, sizeof(about), &memory);
    if(about.version != protocol_version) {
      throw Refused("the server at " + address_ + " speaks version " + std::to_string(about.version)
                    + " of the protocol, this action version " + std::to_string(protocol_version)
                    + ": build the action again from the same forceserver");
    }
    const std::uint64_t rest = answer.length - sizeof(about);
    if(about.atoms == 0 || about.atoms > rest / atom_bytes || about.components == 0 || about.components > rest) {
      throw Refused("the description that came from " + address_ + " contradicts itself");
    }
    Variable variable;
    variable.atoms.resize(about.atoms);
    variable.masses.resize(about.atoms);
    receive(variable.atoms.data(), sizeof(std::int32_t) * variable.atoms.size(), &memory);
    receive(variable.masses.data(), sizeof(double) * variable.masses.size(), &memory);
    std::string names(rest - atom_bytes * variable.atoms.size(), ' ');
    receive(&names[0], names.size(), &memory);
    for(std::size_t start = 0; start < names.size();) {
      const std::size_t end = std::min(names.find('\n', start), names.size());
      variable.components.push_back(names.substr(start, end - start));
      start = end + 1;
    }
    if(variable.components.size() != about.components) {
      throw Refused("the description that came from " + address_ + " contradicts itself");
    }
    if(about.shared_memory) {
      if(memory.get() < 0) {
        throw Refused("the server at " + address_ + " announced shared memory and sent none");
      }
      segment_.map(memory.get(), request_bytes(variable) + reply_bytes(variable, variable.atoms.size())
                   + sizeof(std::int32_t) * variable.atoms.size());
    }
    return variable;
  }

  static std::size_t request_bytes(const Variable& variable) {
    return sizeof(double) * (9 + 3 * variable.atoms.size());
  }

  static std::size_t reply_bytes(const Variable& variable, std::size_t active) {
    return sizeof(double) * variable.components.size() * (10 + 3 * active);
  }

  void connect_once() {
    segment_.unmap();
    if(address_[0] == '/') {
      open_unix();
    } else {
      const std::size_t colon = address_.rfind(':');
      const bool brackets = address_[0] == '[' && address_[colon - 1] == ']';  // [::1]:port
      open_tcp(address_.substr(brackets, colon - 2 * brackets), address_.substr(colon + 1));
    }
    const Variable variable = say_hello();
    if(!variable_.atoms.empty() && !(variable == variable_)) {
      throw Refused("the server at " + address_ + " came back with other atoms or components for " + name_
                    + "; restart the simulation with the configuration that it began with");
    }
    variable_ = variable;
  }

  void evaluate_once(Evaluation& evaluation) {
    const std::size_t outgoing = request_bytes(variable_);
    if(segment_) {
      std::memcpy(segment_.data(), evaluation.request.data(), outgoing);
      const Header header = {positions, 0};
      send({{&header, sizeof(header)}});
    } else {
      const Header header = {positions, static_cast<std::uint32_t>(outgoing)};
      send({{&header, sizeof(header)}, {evaluation.request.data(), outgoing}});
    }
    const std::size_t atoms = variable_.atoms.size();
    const std::size_t longest = reply_bytes(variable_, atoms) + sizeof(std::int32_t) * atoms + sizeof(std::uint64_t);
    const Header answer = receive_header(values, static_cast<std::uint32_t>(std::min<std::size_t>(longest, UINT32_MAX)));
    std::uint64_t active = 0;
    if(answer.length < sizeof(active)) {
      throw Refused("an answer of the server at " + address_ + " is too short");
    }
    receive(&active, sizeof(active));
    const std::size_t incoming = active <= atoms ? reply_bytes(variable_, active) : 0;
    const std::size_t listed = sizeof(std::int32_t) * active;
    if(incoming == 0 || answer.length != sizeof(active) + (segment_ ? 0 : incoming + listed)) {
      throw Refused("an answer of the server at " + address_ + " contradicts itself");
    }
    evaluation.reply.resize(incoming / sizeof(double));
    evaluation.active.resize(active);
    if(segment_) {
      std::memcpy(evaluation.reply.data(), segment_.data() + outgoing, incoming);
      std::memcpy(evaluation.active.data(), segment_.data() + outgoing + incoming, listed);
    } else {
      receive(evaluation.reply.data(), incoming);
      receive(evaluation.active.data(), listed);
    }
    for(const std::int32_t atom : evaluation.active) {
      if(atom < 0 || static_cast<std::size_t>(atom) >= atoms) {
        throw Refused("an answer of the server at " + address_ + " names an atom that was not asked for");
      }
    }
  }

  /// Does `work`, again and again while the connection is lost, until `give_up`.
  template<class Work> void insist(Clock::time_point give_up, Work work) {
    for(int attempt = 0;; ++attempt) {
      try {
        work();
        return;
      } catch(const Lost& problem) {
        socket_.reset();
        if(Clock::now() >= give_up) {
          throw Refused(std::string(problem.what()) + "; it was tried again for as long as RECONNECT says. "
                        "Start it with: forceserver drive CONFIG");
        }
        ::usleep(attempt == 0 ? 1000 : 100000);
      } catch(...) {
        socket_.reset();  // a late answer must not be taken for the next one
        throw;
      }
    }
  }

public:
  Client(const std::string& address, const std::string& name, std::uint32_t total_atoms, double timeout)
    : address_(address), name_(name), total_atoms_(total_atoms), timeout_(timeout) {}

  const Variable& variable() const {
    return variable_;
  }

  /// Connects; again and again until `give_up`.
  void connect(Clock::time_point give_up) {
    insist(give_up, [this] { connect_once(); });
  }

  /// The values for a request; on a new connection, and again, if the old one breaks, until `give_up`.
  void evaluate(Evaluation& evaluation, Clock::time_point give_up) {
    insist(give_up, [this, &evaluation] {
      if(socket_.get() < 0) {
        connect_once();
      }
      evaluate_once(evaluation);
    });
  }
};

//+PLUMEDOC COLVAR FORCESERVER
/*
Collective variables that a forceserver process computes.

The variable, its atoms and its components are defined in the configuration of the server.

\par Examples

\plumedfile
LOAD FILE=ForceServer.cpp
p: FORCESERVER ADDRESS=/tmp/batio3.sock CV=polarization
METAD ARG=p.x,p.y,p.z SIGMA=0.05,0.05,0.05 HEIGHT=1.0 PACE=100
\endplumedfile
*/
//+ENDPLUMEDOC

class ForceServer : public PLMD::Colvar {
  bool nopbc_ = false;
  bool check_masses_ = true;
  double patience_ = 30.0;
  double timeout_ = 60.0;
  double angstrom_;  // what one unit of length of this PLUMED input is in Angstrom
  Variable variable_;
  Evaluation evaluation_;
  std::unique_ptr<Client> client_;  // on rank 0 only

  /// Does `work` on rank 0 and ends all ranks with the same message if it fails.
  template<class Work> void on_root(Work work) {
    std::string problem;
    if(client_) {
      try {
        work();
      } catch(const std::exception& failure) {
        problem = failure.what();
      }
    }
    int length = static_cast<int>(problem.size());
    comm.Bcast(length, 0);
    if(length > 0) {
      problem.resize(length);
      comm.Bcast(&problem[0], length, 0);
      error(problem);  // thrown by the kernel: an exception of this library would not survive its unloading
    }
  }

  void broadcast_variable() {
    int sizes[2] = {0, 0};
    std::string names;
    if(client_) {
      variable_ = client_->variable();
      for(const auto& name : variable_.components) {
        names += name + "\n";
      }
      sizes[0] = static_cast<int>(variable_.atoms.size());
      sizes[1] = static_cast<int>(names.size());
    }
    comm.Bcast(sizes, 2, 0);
    std::vector<int> atoms(variable_.atoms.begin(), variable_.atoms.end());
    atoms.resize(sizes[0]);
    names.resize(sizes[1]);
    variable_.masses.resize(sizes[0]);
    comm.Bcast(atoms.data(), sizes[0], 0);
    comm.Bcast(variable_.masses.data(), sizes[0], 0);
    comm.Bcast(&names[0], sizes[1], 0);
    variable_.atoms.assign(atoms.begin(), atoms.end());
    variable_.components.clear();
    for(std::size_t start = 0, end; start < names.size(); start = end + 1) {
      end = names.find('\n', start);
      variable_.components.push_back(names.substr(start, end - start));
    }
  }

  /// Masses are all that PLUMED knows of elements: where they are others, the atoms are in another order than in the
  /// structure file of the server. Engines may have any unit of mass, and isotopes.
  void check_masses() {
    double found = 0.0, expected = 0.0;
    for(std::size_t atom = 0; atom < variable_.masses.size(); ++atom) {
      const double mass = getMass(atom);
      if(!std::isfinite(mass) || !(mass > 0.0)) {
        return;  // `plumed driver` without --mc knows none
      }
      found += mass;
      expected += variable_.masses[atom];
    }
    for(std::size_t atom = 0; atom < variable_.masses.size(); ++atom) {
      const double mass = getMass(atom) * expected / found, should = variable_.masses[atom];
      const bool hydrogen = should < 1.1 && mass < 3.6;
      if(std::abs(mass - should) > 0.4 * should && !hydrogen) {
        error("atom " + std::to_string(variable_.atoms[atom] + 1) + " has a mass of " + std::to_string(mass)
              + ", in the structure file of the server it has " + std::to_string(should)
              + ": are the atoms in another order there? (NOMASSCHECK if these masses are meant)");
      }
    }
  }

  void broadcast_evaluation() {
    int active = static_cast<int>(evaluation_.active.size());
    comm.Bcast(active, 0);
    evaluation_.active.resize(active);
    evaluation_.reply.resize(variable_.components.size() * (10 + 3 * static_cast<std::size_t>(active)));
    comm.Bcast(evaluation_.active.data(), active, 0);
    comm.Bcast(evaluation_.reply.data(), static_cast<int>(evaluation_.reply.size()), 0);
  }

public:
  static void registerKeywords(PLMD::Keywords& keys) {
    PLMD::Colvar::registerKeywords(keys);
    keys.add("compulsory", "ADDRESS", "where the server listens: the path of its unix socket (from the root), or host:port");
    keys.add("compulsory", "CV", "the name of the variable in the configuration of the server");
    keys.add("compulsory", "RECONNECT", "30", "for how many seconds a server that is away is tried again");
    keys.add("compulsory", "TIMEOUT", "60", "for how many seconds an answer is waited for");
    keys.addFlag("NOMASSCHECK", false, "do not compare masses with those of the elements in the structure file of the server");
    PLMD::ActionWithValue::useCustomisableComponents(keys);  // the server names them
  }

  explicit ForceServer(const PLMD::ActionOptions& options) : Action(options), Colvar(options) {
    std::string address, name;
    parse("ADDRESS", address);
    parse("CV", name);
    parse("RECONNECT", patience_);
    parse("TIMEOUT", timeout_);
    parseFlag("NOPBC", nopbc_);
    bool any_masses = false;
    parseFlag("NOMASSCHECK", any_masses);
    check_masses_ = !any_masses;
    checkRead();
    if(address.empty() || (address[0] != '/' && address.find(':') == std::string::npos)) {
      error("ADDRESS=" + address + " is neither a path that begins with / nor host:port");
    }
    if(!(timeout_ > 0.0) || !(patience_ >= 0.0)) {
      error("TIMEOUT must be positive, RECONNECT not negative");
    }
    angstrom_ = 10.0 * FORCESERVER_UNITS(plumed).getLength();

    const std::size_t virtual_atoms = plumed.getActionSet().select<PLMD::ActionWithVirtualAtom*>().size();
    const std::size_t atoms = getTotAtoms() - virtual_atoms;
    if(comm.Get_rank() == 0) {
      client_.reset(new Client(address, name, static_cast<std::uint32_t>(atoms), timeout_));
    }
    on_root([this] { client_->connect(seconds_from_now(patience_)); });
    broadcast_variable();

    std::vector<PLMD::AtomNumber> wanted;
    for(const std::int32_t atom : variable_.atoms) {
      if(atom < 0 || static_cast<std::size_t>(atom) >= atoms) {
        error("the server wants atom " + std::to_string(atom + 1) + " but there are only " + std::to_string(atoms));
      }
      wanted.push_back(PLMD::AtomNumber::index(atom));
    }
    log.printf("  variable %s of the server at %s, which needs %zu of %zu atoms\n", name.c_str(), address.c_str(),
               wanted.size(), atoms);
    log.printf("  %s periodic boundary conditions\n", nopbc_ ? "without" : "using");
    for(const auto& component : variable_.components) {
      addComponentWithDerivatives(component);
      componentIsNotPeriodic(component);
    }
    requestAtoms(wanted);
    evaluation_.request.resize(9 + 3 * wanted.size());
  }

  void calculate() override {
    if(check_masses_) {
      check_masses();
      check_masses_ = false;
    }
    const std::size_t atoms = getNumberOfAtoms();
    double* request = evaluation_.request.data();
    for(unsigned i = 0; i < 3; ++i) {
      for(unsigned k = 0; k < 3; ++k) {
        *request++ = nopbc_ ? 0.0 : angstrom_ * getBox()(i, k);
      }
    }
    for(std::size_t atom = 0; atom < atoms; ++atom) {
      const PLMD::Vector& position = getPosition(atom);
      for(unsigned k = 0; k < 3; ++k) {
        *request++ = angstrom_ * position[k];
      }
    }
    on_root([this] { client_->evaluate(evaluation_, seconds_from_now(patience_)); });
    broadcast_evaluation();

    const std::size_t components = variable_.components.size();
    const double* value = evaluation_.reply.data();
    const double* strain = value + components;
    const double* gradient = strain + 9 * components;
    for(std::size_t component = 0; component < components; ++component) {
      PLMD::Value* target = getPntrToComponent(static_cast<int>(component));
      target->set(value[component]);
      for(const std::int32_t atom : evaluation_.active) {
        for(unsigned k = 0; k < 3; ++k) {
          target->addDerivative(3 * atom + k, angstrom_ * *gradient++);
        }
      }
      PLMD::Tensor box;  // PLUMED wants minus the derivative with respect to a strain
      for(unsigned i = 0; i < 3; ++i) {
        for(unsigned k = 0; k < 3; ++k) {
          box(i, k) = -*strain++;
        }
      }
      setBoxDerivatives(target, box);
    }
  }
};

PLUMED_REGISTER_ACTION(ForceServer, "FORCESERVER")

}
