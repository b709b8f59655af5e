//! Why operators are not expressed at all.

/// Groups of operators with what keeps them out.
const REASONS: &[(&str, &str)] = &[
    (
        "tensors hold f32 only: no other types, strings, sequences or options",
        "ArrayFeatureExtractor Binarizer BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike \
         Constant ConstantOfShape ConvInteger DequantizeLinear DynamicQuantizeLinear EyeLike If ImageDecoder LabelEncoder \
         MatMulInteger OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul QuantizeLinear Range \
         RegexFullMatch SequenceInsert SequenceMap Shape Size SplitToSequence StringConcat StringNormalizer StringSplit \
         TfIdfVectorizer TreeEnsemble",
    ),
    ("its result's shape depends on its data, and shapes are static", "Compress NonMaxSuppression NonZero TopK Unique"),
    (
        "there is no gather or scatter by indices that are data",
        "AffineGrid Col2Im DeformConv GatherElements GatherND GridSample MaxUnpool Resize ReverseSequence RoiAlign \
         Scatter ScatterElements ScatterND TensorScatter",
    ),
    ("there is no scan along an axis", "CumProd CumSum Loop RNN LSTM GRU Scan"),
    (
        "not a part of these networks: attention and its kin",
        "Attention CausalConvWithState Einsum FlexAttention LinearAttention RotaryEmbedding SwiGLU Trilu",
    ),
    (
        "not a part of these networks: signal processing",
        "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    ),
    ("its function is none of our ops", "Acos Asin Atan Erf"),
    ("kernels promise nothing about infinities and NaN", "IsInf IsNaN"),
    ("it draws from another generator than ours", "Bernoulli"),
];

/// The reason for an operator, if there is one.
pub(crate) fn reason(operator: &str) -> Option<&'static str> {
    let named = |(_, operators): &&(&str, &str)| operators.split_whitespace().any(|known| known == operator);
    REASONS.iter().find(named).map(|&(reason, _)| reason)
}
