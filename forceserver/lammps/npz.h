// The arrays in an .npz file: an uncompressed zip of .npy files, as numpy.savez writes it.
//
// The file is given as bytes, so that one rank can read it for all. Anything invalid throws a std::runtime_error.
#ifndef FORCESERVER_NPZ_H
#define FORCESERVER_NPZ_H

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace forceserver {

using Bytes = std::vector<char>;

/// Memory that begins at a multiple of 64 bytes and is initialised to zero.
template <class T> class Aligned {
  std::unique_ptr<T, void (*)(void *)> data_{nullptr, std::free};
  std::size_t size_ = 0;

 public:
  Aligned() = default;
  explicit Aligned(std::size_t size) { resize(size); }
  /// Discards the previous contents.
  void resize(std::size_t size)
  {
    const std::size_t bytes = (size * sizeof(T) + 63) / 64 * 64 + 64;
    data_.reset(static_cast<T *>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    std::memset(static_cast<void *>(data_.get()), 0, bytes);
    size_ = size;
  }
  /// Makes it at least this large; may discard the previous contents.
  void reserve(std::size_t size)
  {
    if (size > size_) resize(size + size / 4);
  }
  T *data() const { return data_.get(); }
  T &operator[](std::size_t k) const { return data_.get()[k]; }
  std::size_t size() const { return size_; }
};

/// One array: its type as numpy spells it (such as "<f8"), shape and numbers.
struct Array {
  std::string type;
  std::vector<std::int64_t> shape;
  Aligned<char> bytes;

  std::int64_t count() const
  {
    std::int64_t n = 1;
    for (const auto length : shape) n *= length;
    return n;
  }
};

template <class T> constexpr const char *type_name();
template <> constexpr const char *type_name<double>() { return "<f8"; }
template <> constexpr const char *type_name<std::int32_t>() { return "<i4"; }
template <> constexpr const char *type_name<std::int64_t>() { return "<i8"; }
template <> constexpr const char *type_name<unsigned char>() { return "|u1"; }

class Npz {
  std::map<std::string, Array> arrays_;

  static std::uint64_t number(const Bytes &file, std::size_t place, int bytes)
  {
    if (place + bytes > file.size()) throw std::runtime_error("is cut short");
    std::uint64_t value = 0;
    for (int k = bytes - 1; k >= 0; k--) value = value << 8 | static_cast<unsigned char>(file[place + k]);
    return value;
  }

  static std::uint32_t crc32(const char *data, std::size_t size)
  {
    static const std::array<std::uint32_t, 256> table = [] {
      std::array<std::uint32_t, 256> made{};
      for (std::uint32_t k = 0; k < 256; k++) {
        std::uint32_t value = k;
        for (int bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320u ^ value >> 1 : value >> 1;
        made[k] = value;
      }
      return made;
    }();
    std::uint32_t value = 0xffffffffu;
    for (std::size_t k = 0; k < size; k++) value = table[(value ^ static_cast<unsigned char>(data[k])) & 255] ^ value >> 8;
    return ~value;
  }

  /// What follows a key in the dictionary in the header of an .npy file, up to one of the characters `ends`.
  static std::string entry(const std::string &header, const std::string &key, const std::string &ends)
  {
    const std::size_t start = header.find("'" + key + "':");
    if (start == std::string::npos) throw std::runtime_error("has an array without " + key);
    const std::size_t begin = start + key.size() + 3, end = header.find_first_of(ends, begin);
    if (end == std::string::npos) throw std::runtime_error("has an array with a damaged header");
    return header.substr(begin, end - begin);
  }

  static Array parse(const char *data, std::size_t size)
  {
    if (size < 10 || std::memcmp(data, "\x93NUMPY\x01", 7) != 0) throw std::runtime_error("holds something that is no array");
    const std::size_t start = 10 + (static_cast<unsigned char>(data[8]) | static_cast<unsigned char>(data[9]) << 8);
    if (start > size) throw std::runtime_error("is cut short");
    const std::string header(data + 10, data + start);
    Array array;
    const std::string type = entry(header, "descr", ",}");
    array.type = type.substr(type.find('\'') + 1, 3);
    if (entry(header, "fortran_order", ",}").find("False") == std::string::npos)
      throw std::runtime_error("holds an array in Fortran order");
    const std::string shape = entry(header, "shape", ")");
    for (std::size_t k = shape.find('(') + 1; k < shape.size();) {
      char *end;
      const long long length = std::strtoll(shape.c_str() + k, &end, 10);
      if (end == shape.c_str() + k) break;
      if (length < 0) throw std::runtime_error("holds an array of negative length");
      array.shape.push_back(length);
      k = end - shape.c_str() + 1;
    }
    array.bytes.resize(size - start);
    std::memcpy(array.bytes.data(), data + start, size - start);
    return array;
  }

 public:
  explicit Npz(const Bytes &file)
  {
    std::size_t end = file.size() < 22 ? 0 : file.size() - 22;
    while (end > 0 && number(file, end, 4) != 0x06054b50) end--;
    if (file.size() < 22 || number(file, end, 4) != 0x06054b50) throw std::runtime_error("is damaged, or no .npz");
    std::size_t place = number(file, end + 16, 4);
    for (std::uint64_t left = number(file, end + 10, 2); left > 0; left--) {
      if (number(file, place, 4) != 0x02014b50) throw std::runtime_error("has a damaged directory");
      const std::uint64_t method = number(file, place + 10, 2), crc = number(file, place + 16, 4),
                          size = number(file, place + 24, 4), length = number(file, place + 28, 2),
                          local = number(file, place + 42, 4);
      if (method != 0) throw std::runtime_error("is compressed, which is not read");
      if (size == 0xffffffff || local == 0xffffffff) throw std::runtime_error("is larger than 4 GB, which is not read");
      if (place + 46 + length > file.size()) throw std::runtime_error("is cut short");
      std::string name(file.data() + place + 46, length);
      if (name.size() > 4 && name.compare(name.size() - 4, 4, ".npy") == 0) name.resize(name.size() - 4);
      const std::uint64_t data = local + 30 + number(file, local + 26, 2) + number(file, local + 28, 2);
      if (data + size > file.size()) throw std::runtime_error("is cut short");
      if (crc32(file.data() + data, size) != crc)
        throw std::runtime_error("is damaged (" + name + "): copy it again, or fit the model again");
      arrays_[name] = parse(file.data() + data, size);
      place += 46 + length + number(file, place + 30, 2) + number(file, place + 32, 2);
    }
  }

  bool has(const std::string &name) const { return arrays_.count(name) > 0; }

  const Array &array(const std::string &name) const
  {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) throw std::runtime_error("has no array " + name);
    return found->second;
  }

  /// The numbers of an array of this type; if `count` is given, there must be this many.
  template <class T> const T *numbers(const std::string &name, std::int64_t count = -1) const
  {
    const Array &found = array(name);
    const std::int64_t claimed = found.count();
    if (found.type != type_name<T>() || found.bytes.size() != claimed * sizeof(T) || (count >= 0 && claimed != count))
      throw std::runtime_error("has an array " + name + " of another type or shape than it must have");
    return reinterpret_cast<const T *>(found.bytes.data());
  }

  std::int64_t length(const std::string &name, std::size_t axis = 0) const
  {
    const Array &found = array(name);
    if (axis >= found.shape.size()) throw std::runtime_error("has an array " + name + " with too few dimensions");
    return found.shape[axis];
  }
};

}    // namespace forceserver

#endif
