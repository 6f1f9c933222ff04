package android.graphics;

public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_8888, HARDWARE }
    public Config getConfig() { return null; }
    public int getWidth() { return 0; }
    public int getHeight() { return 0; }
    public Bitmap copy(Config config, boolean mutable) { return null; }
    public void getPixels(int[] p, int offset, int stride, int x, int y, int width, int height) {}
}
