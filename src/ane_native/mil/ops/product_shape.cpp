#include "product_shape.h"

namespace ane::mil {

MatmulExtents matmul_extents(const OpView& op) {
    const Shape &x = op.type("x").shape, &y = op.type("y").shape;
    if (x.size() < 2) op.fail("x", "x must have at least two axes, is " + to_string(x));
    if (y.size() < 2) op.fail("y", "y must have at least two axes, is " + to_string(y));
    MatmulExtents m;
    m.transpose_x = op.boolean("transpose_x");
    m.transpose_y = op.boolean("transpose_y");
    m.rows = x[x.size() - (m.transpose_x ? 1 : 2)];
    m.inner = x[x.size() - (m.transpose_x ? 2 : 1)];
    m.columns = y[y.size() - (m.transpose_y ? 2 : 1)];
    const int64_t inner_y = y[y.size() - (m.transpose_y ? 1 : 2)];
    if (m.inner != inner_y)
        op.fail("y", "inner extents differ: x has " + std::to_string(m.inner) + ", y has " +
                         std::to_string(inner_y));
    const auto batch = broadcast({x.begin(), x.end() - 2}, {y.begin(), y.end() - 2});
    if (!batch) op.fail("y", "batch axes of " + to_string(x) + " and " + to_string(y) + " do not broadcast");
    m.batch = *batch;
    return m;
}

MatmulExtents einsum_extents(const OpView& op) {
    // Renames the letters in the order of their first appearance.
    std::string equation, letters;
    for (const char c : op.text("equation")) {
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (is_letter && letters.find(c) == std::string::npos) letters += c;
        equation += is_letter ? static_cast<char>('a' + letters.find(c)) : c;
    }
    const size_t rank = equation == "abcd,adce->abce" ? 4 : equation == "abc,cbd->abd" ? 3 : 0;
    if (rank == 0)
        op.refuse("equation",
                  "the engine takes \"nchw,nwhu->nchu\" and \"chw,whu->chu\", in any letters, "
                  "not \"" +
                      op.text("equation") + "\"");
    const auto& values = op.tuple("values");
    if (values.size() != 2)
        op.fail("values", "values must be two tensors, is " + std::to_string(values.size()));
    const Shape &x = values[0]->type.shape, &y = values[1]->type.shape;
    for (const Shape* shape : {&x, &y})
        if (shape->size() != rank)
            op.fail("values", "the equation is for tensors of " + std::to_string(rank) + " axes, one is " +
                                  to_string(*shape));
    const auto batch_axes = [](const Shape& shape) {
        Shape batch(shape.begin(), shape.end() - 3);
        batch.push_back(shape[shape.size() - 2]);
        return batch;
    };
    if (x[rank - 1] != y[rank - 3])
        op.fail("values", "inner extents differ: the first value has " + std::to_string(x[rank - 1]) +
                              ", the second " + std::to_string(y[rank - 3]));
    const auto batch = broadcast(batch_axes(x), batch_axes(y));
    if (!batch)
        op.fail("values",
                "batch and height of " + to_string(x) + " and " + to_string(y) + " do not broadcast");
    return {*batch, x[rank - 3], x[rank - 1], y[rank - 1], false, false};
}

}  // namespace ane::mil
