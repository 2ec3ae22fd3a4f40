"""The shared task of SIGMORPHON 2020 on pronunciation."""

from __future__ import annotations

import unicodedata

from probseq.datasets.alphabet import Alphabet
from probseq.datasets.files import locate
from probseq.datasets.pronunciations import Lexicon, Pronunciations

URL = "https://raw.githubusercontent.com/sigmorphon/2020/3d9bb36/task1/data"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
PARTS = ("train", "dev", "test")

SHA256: dict[str, tuple[str, str, str]] = {
    "arm": (
        "881b301408460b84443a768b697c7c1e5895994b6157daa3752a4078e088253b",
        "13ac315cb0025b243455ec44b5c68a9b6b888071f85028a4b64f749fd6996bcf",
        "9957ae5d42f94fa9ae5ffe1737e75efe878b57034f3c40e68b4098f0654e82c4",
    ),
    "bul": (
        "726c92b03b5f6e8d414d407141cb82a4782fdac7ef9c7bd3be3c91a5a650bb1f",
        "813ac9f3983ad80538ea9aca5d4cc3cfe6308a27cc63076564c043f2650ae62c",
        "4e05ff7a239bda2ca83e6d167ce1497855f77c94a153892bbe1c9698346a6810",
    ),
    "dut": (
        "ee825c27cf5cc82a097819bdd6ae50900e449e49504fa3c1d06b318301ef28aa",
        "bb86ff20577e0c9706ce3aa88d2ea5963032212bc92facef251ba435f3eb791f",
        "f84dde7d2af37aabbb492bf8862be1e69bbe2b95e16728452775fd902cf94197",
    ),
    "fre": (
        "fcc1c1c19a19381105662b412e8de1a143802da40fb401dd3cc452bc935128a6",
        "eb2b3fb761b02591a93981c448c6c7972da0499fd0fb1d7a0b60142463f6b355",
        "cd75ca22c697f93e23d10898a87a86e1bc08d0d4eb318946f28e085cd1aca9a8",
    ),
    "gre": (
        "acc3450422d1d44e5d596d6b5092919ebf5e0f8a26ddde4ccac7aa9dec1e0996",
        "bac8a18261aa39e125db95423cc33dfaa60683d72eb2b0bb933f2f66b913c7a9",
        "a10265ed5370a687f2bc840d5ac7338c53b36b044d71e2bcfa0b359094f9fd2f",
    ),
    "hin": (
        "74c5359152b21349bafafdc280b9f7ac1a8391056111f7442b3fed04c2a5251b",
        "51807c402408a8da95fde02b9f9af35a39715ff0e31020f5fa95937962fa66a1",
        "027a4a65f3674c2fff19e1c6d28081c78bedc9d7858284143fb188c487c4e9ef",
    ),
    "ice": (
        "d3729c6306c6b20b873b1b8e94bc1fa3b70dce7f8c2e0179ad3a434c8803f2ef",
        "5054f1051521f83acf137e918445052cc8702937131a7f7dac7b2b7dad6f78e4",
        "1da20f2fd807b797a6c5b6388e34253d8f874fa359435566632c3a058c80f56c",
    ),
    "jpn": (
        "5a8adf93f79799b89ba1af4805caa482383dbd62365cca18d5ef5dd993b0c3ac",
        "ae61d965b012ae24cbf05d5bb7bf2c2fc721b9428c57828082e9d089a5020d79",
        "78a5997238663d18267acbffa5a0fe8bcb245e7497b30c663e896a4b28e9a84f",
    ),
    "kor": (
        "c0e509d5c604df2bb0d899fec7825985e2d48f6cbb7238b1cde5ab408716071f",
        "0bf3b0676254dde2f087283f39f4a2f0ef2377000d0317be9c4b6cc8ef9ea23e",
        "65792f869e6426358b143aac664d14af6967f088513d1c34eff3ecbc6555024e",
    ),
    "vie": (
        "541f4b51c14305580a5766158a76e299836646eafcbfb2ed9b5e7e50ae3fa7e6",
        "6d9f94f8f8229876bd029b4db9b42654d31f834bb096279108547a98319cb510",
        "b53eb1e6e7320395e8722b789d5f0bafdaa17c2484a61f5e952259c8f96c111a",
    ),
}


def sigmorphon2020(language: str, decompose: bool = False) -> Pronunciations:
    """Words of Wiktionary and their pronunciations: 3,600 to train, 450 to validate, 450 to test, one for each word.

    The letters are the characters of the training part, and one more, U+FFFD, that stands for any other; no training
    word has it, so what a model makes of it is never learned.

    Args:
        language: "arm", "bul", "dut", "fre", "gre", "hin", "ice", "jpn", "kor" or "vie": Armenian, Bulgarian, Dutch,
            French, Greek, Hindi, Icelandic, Japanese (hiragana), Korean or Vietnamese.
        decompose: letters are taken apart as far as Unicode has parts for them (NFD): a syllable of Hangul into two
            or three jamo, a kana or a Latin letter from its marks. The words are then keys of the references in this
            form. Korean has 834 syllables in its training words, and 61 jamo and other characters.

    Raises:
        ValueError: another language; or a file in PROBSEQ_DATA is not the published one.
        FileNotFoundError: PROBSEQ_DATA names a folder without sigmorphon2020_g2p/train/arm_train.tsv and so on.
        ModuleNotFoundError: the files must be downloaded, and `pooch` is not installed.

    Source: Gorman et al., The SIGMORPHON 2020 Shared Task on Multilingual Grapheme-to-Phoneme Conversion, 2020.
    """
    if language not in SHA256:
        raise ValueError(f"expected a language among {', '.join(SHA256)}; got {language!r}.")
    parts = [_read(language, part, sha256, decompose) for part, sha256 in zip(PARTS, SHA256[language], strict=True)]
    letters = "".join(sorted(set("".join(parts[0]))))
    return Pronunciations.of(Alphabet(letters + UNKNOWN, UNKNOWN), *parts)


def _read(language: str, part: str, sha256: str, decompose: bool) -> Lexicon:
    name = f"{part}/{language}_{part}.tsv"
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for line in locate(f"sigmorphon2020_g2p/{name}", f"{URL}/{name}", sha256).read_text("utf-8").splitlines():
        word, spoken = line.split("\t")
        word = unicodedata.normalize("NFD", word) if decompose else word
        lexicon.setdefault(word, []).append(tuple(spoken.split()))
    return lexicon
