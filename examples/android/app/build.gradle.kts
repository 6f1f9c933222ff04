plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "edge.example"
    compileSdk = 36

    defaultConfig {
        applicationId = "edge.example"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    androidResources { noCompress += "tflite" } // a compressed asset cannot be mapped into memory
}

kotlin { jvmToolchain(17) }

dependencies {
    implementation(project(":model"))
}
