"""What bbolt asks of a file, checked apart from our reader: as `bbolt check`, and a little more."""

import struct

PAGE = 4096


def check(data: bytes) -> int:
    """Assert that a file is a bbolt tree in which every page has its place; return its depth."""
    assert len(data) % PAGE == 0
    metas = [struct.unpack_from("<QHHIIIIIQQQQQQ", data, number * PAGE) for number in range(2)]
    for number, (page, flags, _, _, magic, version, size, *_) in enumerate(metas):
        assert (page, flags, magic, version, size) == (number, 4, 0xED0CDAED, 2, PAGE)
    root, _, free_list, pages, transaction = metas[1][8:13]
    assert metas[0][8:12] == metas[1][8:12]
    assert transaction == 1 + metas[0][12]
    assert pages * PAGE == len(data)
    assert struct.unpack_from("<QHHI", data, free_list * PAGE) == (free_list, 0x10, 0, 0)
    used = {0, 1, free_list}
    depth = _check_page(data, root, b"", None, used, is_root=True, is_outermost=True)
    assert used == set(range(pages)), "pages that are neither used nor free"
    return depth


def _check_page(
    data: bytes,
    page: int,
    low: bytes,
    high: bytes | None,
    used: set[int],
    *,
    is_root: bool,
    is_outermost: bool,
) -> int:
    """Check a subtree whose keys are to be in [low, high); return the depth of all in it."""
    found, flags, count, overflow = struct.unpack_from("<QHHI", data, page * PAGE)
    assert found == page
    for one in range(page, page + overflow + 1):
        assert one not in used, f"page {one} is used twice"
        used.add(one)
    base = page * PAGE + 16
    depths = {1}
    end = base + 16 * count
    keys: list[bytes] = []
    if flags == 2:
        assert count or is_root
        for at in range(base, base + 16 * count, 16):
            kind, position, key_size, value_size = struct.unpack_from("<IIII", data, at)
            assert at + position == end
            end += key_size + value_size
            keys.append(data[at + position : at + position + key_size])
            assert kind == int(is_outermost)
            if is_outermost:
                assert value_size == 16
                below = struct.unpack_from("<Q", data, at + position + key_size)[0]
                depths.add(
                    1 + _check_page(data, below, b"", None, used, is_root=True, is_outermost=False)
                )
    else:
        assert flags == 1
        assert count >= 2, "bbolt cannot rebalance a branch with one child"
        elements = [struct.unpack_from("<IIQ", data, base + 16 * n) for n in range(count)]
        for number, (position, key_size, _) in enumerate(elements):
            at = base + 16 * number + position
            assert at == end
            end += key_size
            keys.append(data[at : at + key_size])
        for number, (_, _, child) in enumerate(elements):
            following = keys[number + 1] if number + 1 < count else high
            below_depth = _check_page(
                data, child, keys[number], following, used, is_root=False, is_outermost=is_outermost
            )
            depths.add(1 + below_depth)
        assert len(depths - {1}) == 1, "leaves at different depths"
    assert end <= (page + overflow + 1) * PAGE
    assert overflow == (end - page * PAGE + PAGE - 1) // PAGE - 1
    assert keys == sorted(set(keys))
    if not is_root and flags == 2:
        assert keys[0] == low
    assert not keys or (keys[0] >= low and (high is None or keys[-1] < high))
    return max(depths)
