"""Tell what a file is by its first bytes: a kind of this package, or what people give by mistake."""

import enum
import re
import struct

HEAD_BYTES = 4096  # enough for every signature below
LLAMA2C_HEADER = struct.Struct("<7i")  # dim, hidden, layers, heads, kv_heads, vocab, seq
LLAMA2C_MAGIC = b"24ka"  # of the export versions 1 and 2
_LEAST_TEXT = 64  # bytes that are taken as text where something else is expected


class Kind(enum.Enum):
    """A kind of file. The value completes the sentence "FILE is"."""

    RESULT = "a result of aneperf"
    CHECKPOINT = "the record of a checkpoint"
    TELEMETRY = "telemetry of aneperf train"
    TRACE = "a trace"
    MIL = "MIL text"
    WEIGHTS = "a weight file of MIL"
    SAFETENSORS = "a safetensors file"
    LLAMA2C = "a llama2.c model"
    TOKENS = "a file of tokens"
    ENVIRONMENT = "a description of a device"
    COMPARISON = "a comparison of results"
    TURNS = "a comparison by aneperf ab"
    COMMUNITY = "an entry of the community's list"
    LIST = "a list of aneperf"
    PREDICTION = "a prediction of aneperf"
    CSV = "a CSV file of aneperf"
    MARKDOWN = "a Markdown page of aneperf"
    PAGE = "an HTML page of aneperf"
    TOKENIZER = "a tokenizer's JSON"
    LLAMA2C_TOKENIZER = "a tokenizer.bin of llama2.c"
    SENTENCEPIECE = "a SentencePiece model"
    JSON = "JSON"
    TEXT = "text"
    UTF16 = "UTF-16 text"
    HTML = "an HTML or XML page"
    LFS = "a Git LFS pointer"
    ANNEX = "a git-annex pointer"
    GZIP = "compressed by gzip"
    BZIP2 = "compressed by bzip2"
    XZ = "compressed by xz"
    ZSTD = "compressed by zstd"
    ZIP = "a zip archive"
    TAR = "a tar archive"
    SEVEN_ZIP = "a 7z archive"
    TORCH = "a file of torch.save"
    NUMPY = "a NumPy array"
    ARRAYS = "an .npz file of NumPy arrays"
    GGUF = "a GGUF model"
    GGML = "a GGML model"
    HDF5 = "an HDF5 file"
    PDF = "a PDF document"
    PNG = "a PNG image"
    JPEG = "a JPEG image"
    SVG = "an SVG image"
    POSTSCRIPT = "PostScript"
    TIFF = "a TIFF image"
    WEBP = "a WebP image"
    PICTURE = "a picture"  # of a format without a signature
    ELF = "an ELF binary"
    MACH_O = "a Mach-O binary"
    COREML = "a Core ML model as protobuf"


ADVICE = {
    Kind.LFS: "fetch the file itself with: git lfs pull",
    Kind.ANNEX: "fetch the file itself with: git annex get",
    Kind.HTML: "download the file itself",
    Kind.UTF16: "save it as UTF-8",
    Kind.TORCH: "export it with llama2.c's export.py",
    **dict.fromkeys((Kind.GZIP, Kind.BZIP2, Kind.XZ, Kind.ZSTD), "decompress it first"),
    **dict.fromkeys((Kind.ZIP, Kind.TAR, Kind.SEVEN_ZIP), "unpack it first"),
}

# Text may be of any kind that is text, and JSON of any layout.
_JSON_KINDS = {
    *(Kind.RESULT, Kind.CHECKPOINT, Kind.TELEMETRY, Kind.TRACE, Kind.TOKENIZER, Kind.JSON),
    *(Kind.ENVIRONMENT, Kind.COMPARISON, Kind.TURNS, Kind.COMMUNITY, Kind.LIST, Kind.PREDICTION),
}
_TEXT_KINDS = {*_JSON_KINDS, Kind.TEXT, Kind.MIL, Kind.HTML, Kind.SVG, Kind.POSTSCRIPT}
_TEXT_KINDS |= {Kind.CSV, Kind.MARKDOWN, Kind.PAGE}

_GENERATOR = '<meta charset="utf-8">\n<meta name="generator" content="aneperf">\n'
PAGE_HEAD = f'<!doctype html>\n<html lang="en">\n{_GENERATOR}'

# Signatures are long, because a file of tokens may begin with any two of them.
_SIGNATURES = (
    (re.compile(rb"version https://(git-lfs\.github\.com|hawser\.github\.com)/spec/"), Kind.LFS),
    (re.compile(rb"(\.\./)*(\.git)?/annex/objects/"), Kind.ANNEX),
    (re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]", re.S), Kind.GZIP),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"), Kind.BZIP2),
    (re.compile(rb"\xfd7zXZ\x00"), Kind.XZ),
    (re.compile(rb"\x28\xb5\x2f\xfd"), Kind.ZSTD),
    (re.compile(rb"PK\x03\x04.{26,100}data\.pkl", re.S), Kind.TORCH),
    (re.compile(rb"PK\x03\x04.{26}[^\x00]{1,255}?\.npy", re.S), Kind.ARRAYS),
    (re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)"), Kind.ZIP),
    (re.compile(rb".{257}ustar", re.S), Kind.TAR),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), Kind.SEVEN_ZIP),
    (re.compile(rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"), Kind.TORCH),
    (re.compile(rb"\x93NUMPY"), Kind.NUMPY),
    (re.compile(rb"GGUF"), Kind.GGUF),
    (re.compile(rb"(lmgg|fmgg|tjgg)"), Kind.GGML),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), Kind.HDF5),
    (re.compile(rb"%PDF-"), Kind.PDF),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), Kind.PNG),
    (re.compile(rb"\xff\xd8\xff[\xdb\xe0-\xef]..(JFIF|Exif|\x00)", re.S), Kind.JPEG),
    (re.compile(rb"(II\*\x00|MM\x00\*)"), Kind.TIFF),
    (re.compile(rb"RIFF.{4}WEBP", re.S), Kind.WEBP),
    (re.compile(rb"\x7fELF[\x01\x02]"), Kind.ELF),
    (re.compile(rb"[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe\x00\x00\x00"), Kind.MACH_O),
    (re.compile(LLAMA2C_MAGIC), Kind.LLAMA2C),
    (re.compile(rb'.{8}\{"__metadata__":\{"aneperf":"tokens"', re.S), Kind.TOKENS),
    (re.compile(rb".{4}\x02\x00\x00\x00\x00{56}\xef\xbe\xad\xde", re.S), Kind.WEIGHTS),
    (re.compile(rb"\x08[\x01-\x14]\x12.[\x0a\x52\xa2]", re.S), Kind.COREML),
    (re.compile(rb"(\xff\xfe([\t\n\r -~]\x00){8}|\xfe\xff(\x00[\t\n\r -~]){8})"), Kind.UTF16),
)
_BLANK = rb"(\xef\xbb\xbf)?\s*"
_TEXT_SIGNATURES = (
    (re.compile(_BLANK + rb"(<\?xml[^>]*>\s*)?(<!DOCTYPE svg|<svg)", re.I), Kind.SVG),
    (re.compile(rb"%!PS"), Kind.POSTSCRIPT),
    (re.compile(rb'<!doctype html>\n(<html lang="en">\n)?' + _GENERATOR.encode()), Kind.PAGE),
    (re.compile(rb"\*\*aneperf "), Kind.MARKDOWN),
    # The first columns of results, comparisons, telemetry, facts, calls, lists and predictions, or none. One
    # alone could be the first of anybody's.
    (
        re.compile(
            rb"(probe,key,|key,(first,second|step,loss),|fact,value\n|call,process,warm_up,ns\n|list,name,|prediction,chip,|key\n)"
        ),
        Kind.CSV,
    ),
    (re.compile(_BLANK + rb"<(!doctype|html|head|body|\?xml|!--)", re.I), Kind.HTML),
    (re.compile(_BLANK + rb"program\s*\("), Kind.MIL),
)
_START = rb"\A" + _BLANK
_NOTHING = re.compile(_BLANK + rb"\[\s*\]\s*\Z")  # all of a comparison without rows
_JSON_SIGNATURES = (
    (re.compile(_START + rb'\{\s*"ab_version"\s*:'), Kind.TURNS),  # which holds results
    (re.compile(rb'"schema_version"\s*:'), Kind.RESULT),
    (re.compile(rb'"applied_updates"\s*:'), Kind.CHECKPOINT),
    (re.compile(rb'"traceEvents"\s*:'), Kind.TRACE),
    (re.compile(rb'"(added_tokens|pre_tokenizer)"\s*:'), Kind.TOKENIZER),
    (re.compile(_START + rb'\{\s*"aneperf"\s*:'), Kind.ENVIRONMENT),
    (re.compile(_START + rb'\[\s*\{\s*"key"\s*:.*"verdict"\s*:', re.S), Kind.COMPARISON),
    (re.compile(_START + rb'\[\s*\{\s*"list"\s*:'), Kind.LIST),
    (re.compile(_START + rb'\[\s*\{\s*"prediction"\s*:'), Kind.PREDICTION),
    (re.compile(_START + rb'\{\s*"chip"\s*:.*"contributor"\s*:', re.S), Kind.COMMUNITY),
    (
        re.compile(_START + rb'\{"type":"(run|worker|step|times|batch|perf|update|validation|checkpoint)",'),
        Kind.TELEMETRY,
    ),
)


def kind_of(head: bytes, size: int, expected: Kind | None = None) -> Kind | None:
    """Return the kind of a file of `size` bytes that begins with `head`, or None if nothing gives it away.

    A file that may be `expected` is that.
    """
    text = _is_text(head)
    for signature, kind in _SIGNATURES:
        if signature.match(head) and (not text or kind in (Kind.LFS, Kind.ANNEX)):
            return kind
    if size > 4 and llama2c_bytes(head) == size:
        return Kind.LLAMA2C
    if _is_safetensors(head, size):
        return Kind.SAFETENSORS
    if _is_sentencepiece(head, size):
        return Kind.SENTENCEPIECE
    if _is_llama2c_tokenizer(head, size):
        return Kind.LLAMA2C_TOKENIZER
    found = _kind_of_text(head, size, expected) if text else None
    return expected if expected is not None and _holds(expected, found) else found


def refusal(head: bytes, size: int, expected: Kind) -> str | None:
    """Return what such a file is instead of the expected kind, and what to do; None if it may be that."""
    if not size and expected is not Kind.TEXT:
        return f"is empty, not {expected.value}"
    found = kind_of(head, size, expected)
    if found in (None, expected):
        return None
    advice = f": {ADVICE[found]}" if found in ADVICE else ""
    return f"is {found.value}, not {expected.value}{advice}"


def llama2c_bytes(head: bytes) -> int | None:
    """Return the size of the llama2.c file, in its first format, with this header; None for no header."""
    if len(head) < LLAMA2C_HEADER.size:
        return None
    numbers: tuple[int, ...] = LLAMA2C_HEADER.unpack_from(head)
    dim, hidden, layers, heads, kv_heads, vocab, seq = numbers
    if min(dim, hidden, layers, heads, kv_heads, abs(vocab), seq) < 1 or dim % heads or heads % kv_heads:
        return None
    kv_dim = dim // heads * kv_heads
    layer = dim * (2 + 2 * dim + 2 * kv_dim + 3 * hidden)
    classifiers = 2 if vocab < 0 else 1
    values = classifiers * abs(vocab) * dim + layers * layer + dim + seq * (dim // heads)
    return LLAMA2C_HEADER.size + 4 * values


def _kind_of_text(head: bytes, size: int, expected: Kind | None) -> Kind | None:
    for signature, kind in _TEXT_SIGNATURES:
        if signature.match(head):
            return kind
    if _NOTHING.match(head):
        return Kind.COMPARISON if expected in (None, Kind.COMPARISON) else Kind.JSON
    if re.match(_BLANK + rb'(\{\s*["}]|\[\s*[\[{"\d\]])', head):
        found = {kind for signature, kind in _JSON_SIGNATURES if signature.search(head)}
        if expected in found and Kind.TURNS not in found:  # which holds results, and is none
            return expected
        return next((kind for _, kind in _JSON_SIGNATURES if kind in found), Kind.JSON)
    return Kind.TEXT if size >= _LEAST_TEXT else None


def _is_text(head: bytes) -> bool:
    """Tell if the bytes are UTF-8 without control characters, of which the last one may be cut."""
    if re.search(rb"[^\t\n\r\x1b -~\x80-\xff]", head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def _holds(expected: Kind, found: Kind | None) -> bool:
    """Tell if a file that looks like `found` may be `expected`."""
    if expected is Kind.TEXT:
        return found in _TEXT_KINDS
    if expected in _JSON_KINDS:
        return found in (Kind.JSON, Kind.TEXT)  # the reader says what is wrong with it
    return expected is Kind.MIL and found is Kind.TEXT


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    return 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _is_sentencepiece(head: bytes, size: int) -> bool:
    """Tell if the file begins with a piece: field 1, which holds its text (1), score (2) and type (3)."""
    match = re.match(rb"\x0a(.)\x0a(.)", head, re.S)
    if match is None or match[1][0] >= 0x80 or not 0 < match[2][0] <= match[1][0] - 2:
        return False
    after_piece, end = 4 + match[2][0], 2 + match[1][0]
    has_score = end - after_piece >= 5 and head[after_piece : after_piece + 1] == b"\x15"
    return has_score and (end == size or head[end : end + 1] in (b"\x0a", b"\x12"))


def _is_llama2c_tokenizer(head: bytes, size: int) -> bool:
    """Tell if the file begins with the longest length and three tokens: score, length, bytes."""
    if len(head) < 4:
        return False
    longest, position = int.from_bytes(head[:4], "little"), 4
    for _ in range(3):
        if position + 8 > len(head):
            return position == size and position > 4
        score, length = struct.unpack_from("<fI", head, position)
        position += 8 + length
        if not 0 < length <= longest <= 1 << 16 or position > size or not abs(score) < 1e10:
            return False
        if 0 < abs(score) < 1e-6:
            return False
    return True
