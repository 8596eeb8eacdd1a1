// Many weight files as one, which is the only number that macOS 27 takes (Epistates/pmetal).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blob_format.h"
#include "device.h"
#include "graph.h"

namespace ane::mil {

// A program whose text names one weight file, and what that file holds.
class OneFile {
   public:
    static constexpr std::string_view path = "@model_path/weights/weight.bin";

    // `module` is the parsed `text` after `weights` were read. Throws CompileError if they are too long.
    OneFile(std::string_view text, const Module& module, const Weights& weights);

    const std::string& text() const { return text_; }
    // The size of the file; 0 if the text names no weights.
    uint64_t bytes() const { return bytes_; }
    // Fills `file`, which has that size.
    void write(const Weights& weights, std::span<std::byte> file) const;
    // Puts what `weights` hold, by their old paths, in place of what `file` has. Throws ArgumentError for a
    // path that the program does not have, or a file laid out in another way.
    void replace(const Weights& weights, std::span<std::byte> file) const;

   private:
    // A chunk of an old file, and its place in the new one.
    struct Chunk {
        std::string path;
        uint64_t old_header_at = 0, old_payload_at = 0, header_at = 0;
        ChunkHeader old_header = {}, header = {};
    };

    void copy(const Chunk& chunk, std::span<const std::byte> from, std::span<std::byte> to) const;

    std::string text_;
    std::vector<Chunk> chunks_;
    uint64_t bytes_ = 0;
};

}  // namespace ane::mil
