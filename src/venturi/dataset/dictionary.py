"""The data dictionary (PS3.6), the known private ones, and the registry of UIDs, by pydicom.

They are loaded when they are first asked for: that costs 0.2 s and 15 MB, and explicit VR needs none.
"""

# ruff: noqa: PLC0415 - see above

from functools import cache


def vr_of(tag: int) -> str:
    """Give the VR of a public attribute, several as in ``US or SS``. Raises KeyError."""
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(tag)


def private_vr_of(tag: int, creator: str) -> str:
    """Give the VR of a private attribute. Raises KeyError."""
    from pydicom.datadict import private_dictionary_VR

    return private_dictionary_VR(tag, creator)


@cache
def tags() -> dict[str, int]:
    """Give the tags of all attributes by keyword, without those of repeating groups."""
    from pydicom._dicom_dict import DicomDictionary

    return {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}


def uid_name(uid: str) -> str:
    """Give the name of a UID of PS3.6 Annex A, as ``CT Image Storage``; for another one, itself."""
    from pydicom._uid_dict import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else uid


@cache
def uids() -> dict[str, str]:
    """Give the UIDs of PS3.6 Annex A by keyword."""
    from pydicom._uid_dict import UID_dictionary

    return {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[4]}
