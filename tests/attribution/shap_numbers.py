"""A model of ten features, and what SHAP's exact explainer says of it.

The numbers are of shap 0.51.0 with numpy 2.4.6 and numba 0.68.1; run this file with shap installed
to print them again. It is no dependency of the tests, since it brings a compiler (numba and LLVM).
"""

import numpy as np

HIDDEN = np.sin(np.arange(60.0)).reshape(10, 6)
OUT = np.cos(np.arange(6.0))
BACKGROUND = np.cos(np.arange(70.0) ** 2).reshape(7, 10)
X = np.sin(np.arange(30.0) ** 2).reshape(3, 10) * 2

EXACT = np.array(
    [
        [
            0.10938107125909244,
            -0.4215090576717521,
            0.8935625427673353,
            -0.5175718486109768,
            0.653243100721713,
            0.1446527826861718,
            1.6640797659195576,
            1.8061508717331936,
            -1.0183564549595354,
            0.7557493459559368,
        ],
        [
            -0.8780238959290306,
            -0.2536997699946105,
            0.5989544175961742,
            0.17267354965686207,
            -1.1722854987707105,
            1.1311488295423833,
            1.8940583613685331,
            0.3173367278004327,
            0.6029739703921742,
            -0.029306090765442355,
        ],
        [
            -0.24617375826117263,
            -0.4313144455873207,
            -0.05845218970407292,
            -1.4815313817671296,
            1.9311494367360456,
            -0.9095487329449686,
            0.9385055086194295,
            0.003188029140408203,
            1.4239653596131092,
            1.0904982239459757,
        ],
    ]
)


def apply_numpy(x: np.ndarray) -> np.ndarray:
    """A hidden layer, and a product of three features."""
    return np.tanh(x @ HIDDEN) @ OUT + x[:, 0] * x[:, 3] * x[:, 5]


def main() -> None:
    import shap

    explain = shap.explainers.Exact(apply_numpy, shap.maskers.Independent(BACKGROUND))
    for row in explain(X).values:
        print(",\n".join(repr(float(value)) for value in row), end=",\n\n")


if __name__ == "__main__":
    main()
