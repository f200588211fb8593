"""The models of the household pictures: chosen by eye, by class, under their catalogue keys.

Left out on purpose: models that carry a brand name, and models of which most views show nothing
typical of the class.
"""

HOUSEHOLD_MODELS: dict[str, tuple[str, ...]] = {
    "bag": (
        "Blend Swap CC-0#briefcase",
        "Blend Swap CC-0#handbag",
        "Blend Swap CC-BY#backpack",
        "Blend Swap CC-BY#suitcase",
    ),
    "bed": (
        "Blend Swap CC-0#bed2",
        "Blend Swap CC-0#bed3",
        "Blend Swap CC-BY#lettoCloud",
        "Scopia#bed1",
        "Scopia#hospital-bed",
    ),
    "bicycle": (
        "Blend Swap CC-BY#bike",
        "Scopia#bicycle",
        "Scopia#indoor-bike",
        "Scopia#tricycle",
    ),
    "bookcase": (
        "Blend Swap CC-0#shelves",
        "Blend Swap CC-BY#bookcase",
        "Kator Legaz#full-bookcase",
        "Kator Legaz#utility-shelving",
        "Scopia#kids_shelves",
    ),
    "bottle": (
        "Blend Swap CC-0#mamadeira",
        "Blend Swap CC-0#yogurtBottle",
        "Blend Swap CC-BY#beer_bottle",
        "Kator Legaz#red-wine-bottle-01",
        "Scopia#medicoscopia_bottle2",
    ),
    "bowl": (
        "Kator Legaz#bowl",
        "Scopia#bowl",
        "Scopia#bowlWithFruits",
        "Scopia#bowlWithSalad",
    ),
    "box": (
        "Blend Swap CC-0#ammoBox",
        "Blend Swap CC-0#box",
        "Blend Swap CC-0#crate",
        "Scopia#cardboard-box",
        "Scopia#open-cardboard-box",
    ),
    "chair": (
        "Blend Swap CC-0#oakChair",
        "Blend Swap CC-0#plasticChair",
        "Blend Swap CC-BY#leaf_chair",
        "Kator Legaz#dining-chair",
        "Scopia#silla_teca",
    ),
    "clock": (
        "Blend Swap CC-0#cuckooClock",
        "Blend Swap CC-BY#clock",
        "Scopia#montre",
        "Scopia#montre-with-pose",
    ),
    "hat": (
        "Scopia#casque",
        "Scopia#casquette",
        "Scopia#chapeau",
    ),
    "lamp": (
        "Blend Swap CC-0#desklamp",
        "Blend Swap CC-BY#lamp",
        "Kator Legaz#pedestal-vase-lamp",
        "Scopia#desk_lamp2",
        "Scopia#little_lamp1",
    ),
    "mug": (
        "Blend Swap CC-0#caffe_final",
        "Blend Swap CC-0#plasticCup",
        "Kator Legaz#coffee-mug",
        "Scopia#creamer",
        "Scopia#cup",
    ),
    "oven": (
        "Blend Swap CC-0#doubleOven",
        "Blend Swap CC-0#oven",
        "Blend Swap CC-BY#microwave",
        "Scopia#small-oven",
    ),
    "phone": (
        "Blend Swap CC-BY#mobile",
        "Blend Swap CC-BY#wirelessOfficePhone3",
        "Scopia#phone",
    ),
    "plant": (
        "Blend Swap CC-0#augalas",
        "Blend Swap CC-0#littlePlant",
        "Blend Swap CC-BY#decorativePlant",
        "Blend Swap CC-BY#mediumIndoorPlant",
        "Scopia#maceta",
    ),
    "shoe": (
        "Blend Swap CC-0#bootie",
        "Blend Swap CC-0#slippers",
        "Scopia#mocassin",
        "Scopia#sneakers",
        "Scopia#woman_shoes",
    ),
    "sofa": (
        "Blend Swap CC-0#L_shaped_sofa",
        "Blend Swap CC-0#winchesterSofa",
        "Blend Swap CC-BY#sofa3",
        "Kator Legaz#futon-couch",
        "Scopia#clear_sofa",
    ),
    "table": (
        "Blend Swap CC-0#oakTable",
        "Blend Swap CC-BY#table",
        "Kator Legaz#folding-table",
        "Scopia#black_table",
        "Scopia#table3",
    ),
    "trash-bin": (
        "Blend Swap CC-0#dustbin",
        "Kator Legaz#bullet-trash-can",
        "Kator Legaz#park-trashcan",
        "Kator Legaz#residential-trashcan",
    ),
    "vase": (
        "Scopia#jar",
        "Scopia#old_jar",
        "Scopia#pottery",
        "Scopia#vase2",
        "Scopia#vase3",
    ),
}
